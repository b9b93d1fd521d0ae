-- Files that were read, and what was wrong with the records that were not taken. A bad record is rejected alone and kept
-- here, with its own text, so that a curator can correct it without the file.

CREATE TABLE ingest (
    id          uuid             NOT NULL,
    file        text             NOT NULL,
    state       task_state       NOT NULL DEFAULT 'running',
    read        bigint           NOT NULL DEFAULT 0,
    accepted    bigint           NOT NULL DEFAULT 0,
    unchanged   bigint           NOT NULL DEFAULT 0,
    rejected    bigint           NOT NULL DEFAULT 0,
    warnings    bigint           NOT NULL DEFAULT 0,
    seconds     double precision NOT NULL DEFAULT 0,
    error       json,
    created_at  timestamptz      NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CONSTRAINT ingest_pkey PRIMARY KEY (id),
    CONSTRAINT ingest_counts_add_up CHECK (read >= accepted + unchanged + rejected)
);

CREATE TABLE reject (
    ingest_id  uuid     NOT NULL,
    -- One row a finding, in the order of the file.
    position   bigint   NOT NULL,
    file       text     NOT NULL,
    -- NULL: the file as a whole.
    record     bigint,
    pointer    text     NOT NULL,
    code       text     NOT NULL,
    severity   severity NOT NULL,
    message    text     NOT NULL,
    suggestion text,
    -- The record's own text, cut at 64 KiB; with its first finding only.
    raw        text,
    CONSTRAINT reject_pkey PRIMARY KEY (ingest_id, position),
    CONSTRAINT reject_ingest_id_fkey FOREIGN KEY (ingest_id) REFERENCES ingest (id) ON DELETE CASCADE
);
