-- Addresses that are told of the events of jobs, and each telling.

CREATE TABLE webhook (
    id         uuid        NOT NULL,
    url        text        NOT NULL,
    -- Kinds of events; empty: all.
    events     text[]      NOT NULL DEFAULT '{}',
    -- Key of the signature. Kept as it is: signing needs it.
    secret     text        NOT NULL,
    active     boolean     NOT NULL DEFAULT true,
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_pkey PRIMARY KEY (id)
);

CREATE TABLE delivery (
    id              uuid        NOT NULL,
    webhook_id      uuid        NOT NULL,
    job_id          uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    state           text        NOT NULL DEFAULT 'waiting',
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_status     integer,
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    delivered_at    timestamptz,
    CONSTRAINT delivery_pkey PRIMARY KEY (id),
    CONSTRAINT delivery_webhook_job_sequence_key UNIQUE (webhook_id, job_id, sequence),
    CONSTRAINT delivery_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhook (id) ON DELETE CASCADE,
    CONSTRAINT delivery_job_event_fkey FOREIGN KEY (job_id, sequence) REFERENCES job_event (job_id, sequence) ON DELETE CASCADE,
    CONSTRAINT delivery_state_is_known CHECK (state IN ('waiting', 'delivered', 'failed'))
);

CREATE INDEX delivery_waiting_idx ON delivery (next_attempt_at) WHERE state = 'waiting';

-- An event is queued for whoever wants it in the transaction that writes it: none is lost, whoever dies.
CREATE FUNCTION queue_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery (id, webhook_id, job_id, sequence)
    SELECT gen_random_uuid(), w.id, NEW.job_id, NEW.sequence FROM webhook w
    WHERE w.active AND (w.events = '{}' OR NEW.kind = ANY (w.events));
    RETURN NULL;
END
$$;

CREATE TRIGGER job_event_queues_deliveries AFTER INSERT ON job_event FOR EACH ROW EXECUTE FUNCTION queue_deliveries();
