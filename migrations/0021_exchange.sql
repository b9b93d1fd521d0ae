-- Data out, and data in that is not scene graphs alone.

-- An export is a few files, each written piece by piece, each piece a blob: fetched by ranges, and memory holds a piece.
CREATE TABLE export (
    id          uuid        NOT NULL,
    format      text        NOT NULL,
    -- The frozen pairs; NULL: graphs.
    pairing_id  uuid,
    request     json        NOT NULL,
    state       task_state  NOT NULL DEFAULT 'queued',
    done        bigint      NOT NULL DEFAULT 0,
    total       bigint      NOT NULL DEFAULT 0,
    error       json,
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    CONSTRAINT export_pkey PRIMARY KEY (id),
    CONSTRAINT export_pairing_id_fkey FOREIGN KEY (pairing_id) REFERENCES pairing (id)
);

-- A file that is whole.
CREATE TABLE export_file (
    export_id  uuid   NOT NULL,
    name       text   NOT NULL,
    media_type text   NOT NULL,
    bytes      bigint NOT NULL,
    sha256     text   NOT NULL,
    CONSTRAINT export_file_pkey PRIMARY KEY (export_id, name),
    CONSTRAINT export_file_export_id_fkey FOREIGN KEY (export_id) REFERENCES export (id) ON DELETE CASCADE
);

CREATE TABLE export_piece (
    export_id uuid    NOT NULL,
    file      text    NOT NULL,
    position  integer NOT NULL,
    blob      text    NOT NULL,
    bytes     bigint  NOT NULL,
    CONSTRAINT export_piece_pkey PRIMARY KEY (export_id, file, position),
    CONSTRAINT export_piece_export_id_fkey FOREIGN KEY (export_id) REFERENCES export (id) ON DELETE CASCADE
);

-- What an import was of: `laion-sg`, `visual-genome`, `prompts`, `images`, `pick-a-pic`, `scores`, `answers`.
ALTER TABLE ingest
    ADD COLUMN format     text NOT NULL DEFAULT 'laion-sg',
    -- The pairing that imported pairs became.
    ADD COLUMN pairing_id uuid,
    ADD CONSTRAINT ingest_pairing_id_fkey FOREIGN KEY (pairing_id) REFERENCES pairing (id);
