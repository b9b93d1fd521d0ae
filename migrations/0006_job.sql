-- Training jobs. The row is the truth about a job; the queue only says that somebody should look at it. A worker holds a
-- job by a lease that it renews while it lives, so the job of a killed service is found again when the lease runs out.

CREATE TYPE job_state AS ENUM (
    'validating', 'queued', 'preparing', 'running', 'pausing', 'paused', 'succeeded', 'failed', 'cancelling', 'cancelled'
);

CREATE TABLE job (
    id              uuid        NOT NULL,
    state           job_state   NOT NULL,
    stage           text        NOT NULL DEFAULT '',
    spec            json        NOT NULL,
    idempotency_key text,
    -- SHA-256 of the request: the same key with another request is a conflict.
    request_hash    text        NOT NULL,
    pairing_id      uuid,
    done            bigint      NOT NULL DEFAULT 0,
    total           bigint      NOT NULL DEFAULT 0,
    unit            text        NOT NULL DEFAULT 'steps',
    error           json,
    worker          text,
    lease_until     timestamptz,
    -- How often a worker took it up; more than one means that it was resumed.
    attempt         integer     NOT NULL DEFAULT 0,
    -- The newest event's number; counting here gives each job its own gapless sequence.
    last_event      bigint      NOT NULL DEFAULT 0,
    -- Wishes from outside; the runner fulfils and clears them.
    save_requested   boolean    NOT NULL DEFAULT false,
    sample_requested boolean    NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    CONSTRAINT job_pkey PRIMARY KEY (id),
    CONSTRAINT job_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT job_pairing_id_fkey FOREIGN KEY (pairing_id) REFERENCES pairing (id),
    CONSTRAINT job_finished_at_is_of_final_states
        CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT job_lease_has_a_worker CHECK ((worker IS NULL) = (lease_until IS NULL))
);

CREATE INDEX job_unfinished_idx ON job (lease_until) WHERE finished_at IS NULL;

CREATE TABLE job_event (
    job_id   uuid        NOT NULL,
    sequence bigint      NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    kind     text        NOT NULL,
    data     json        NOT NULL,
    CONSTRAINT job_event_pkey PRIMARY KEY (job_id, sequence),
    CONSTRAINT job_event_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE
);

CREATE TABLE job_metric (
    job_id  uuid    NOT NULL,
    step    integer NOT NULL,
    metrics json    NOT NULL,
    CONSTRAINT job_metric_pkey PRIMARY KEY (job_id, step),
    CONSTRAINT job_metric_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE
);

-- Everything for an exact resume, as named files, each a blob: [{"name", "blob", "bytes"}].
CREATE TABLE checkpoint (
    job_id     uuid        NOT NULL,
    step       integer     NOT NULL,
    files      json        NOT NULL,
    bytes      bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT checkpoint_pkey PRIMARY KEY (job_id, step),
    CONSTRAINT checkpoint_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE
);

-- What a job leaves for others: weights, reports.
CREATE TABLE artifact (
    job_id     uuid        NOT NULL,
    name       text        NOT NULL,
    blob       text        NOT NULL,
    bytes      bigint      NOT NULL,
    media_type text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT artifact_pkey PRIMARY KEY (job_id, name),
    CONSTRAINT artifact_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE
);

CREATE TABLE job_sample (
    job_id     uuid    NOT NULL,
    step       integer NOT NULL,
    graph_id   uuid    NOT NULL,
    index      integer NOT NULL,
    seed       bigint  NOT NULL,
    image_blob text    NOT NULL,
    CONSTRAINT job_sample_pkey PRIMARY KEY (job_id, step, graph_id, index),
    CONSTRAINT job_sample_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE,
    CONSTRAINT job_sample_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE
);
