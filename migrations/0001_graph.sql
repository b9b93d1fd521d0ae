-- Scene graphs as they came, and the rows that make them quick to filter.
--
-- `document` is the LAION-SG record itself. It is `json`, not `jsonb`: what was ingested is given back key for key in its
-- own order, and `\u0000` inside a caption (which jsonb refuses) survives. Whatever is filtered or counted by is beside it
-- in columns and in the tables `object` and `relation`, so nothing ever searches inside the document.

CREATE TYPE split AS ENUM ('train', 'held_out');

-- What happens to a piece of long work that has no richer states of its own.
CREATE TYPE task_state AS ENUM ('queued', 'running', 'succeeded', 'failed', 'cancelled');

CREATE TYPE severity AS ENUM ('error', 'warning');

CREATE TABLE graph (
    id            uuid        NOT NULL,
    img_id        text        NOT NULL,
    name          text        NOT NULL,
    caption       text        NOT NULL,
    split         split       NOT NULL,
    -- SHA-256 (hex) of the graph's canonical form: the same graph twice is "unchanged", another one under the same img_id
    -- is rejected.
    content_hash  text        NOT NULL,
    document      json        NOT NULL,
    num_objects   integer     NOT NULL,
    num_relations integer     NOT NULL,
    -- Warnings of the lint, as it prints them.
    lint          json        NOT NULL DEFAULT '[]',
    source_file   text        NOT NULL,
    record        bigint      NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT graph_pkey PRIMARY KEY (id),
    CONSTRAINT graph_img_id_key UNIQUE (img_id),
    CONSTRAINT graph_content_hash_is_sha256 CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT graph_counts_are_not_negative CHECK (num_objects >= 0 AND num_relations >= 0 AND record >= 0)
);

CREATE INDEX graph_split_idx ON graph (split, id);

CREATE TABLE object (
    graph_id   uuid    NOT NULL,
    -- Place in the record's `items`; relations and questions refer to it.
    position   integer NOT NULL,
    -- Up to u64, which bigint does not hold.
    item_id    numeric(20) NOT NULL,
    label      text    NOT NULL,
    attributes text[]  NOT NULL,
    CONSTRAINT object_pkey PRIMARY KEY (graph_id, position),
    CONSTRAINT object_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE,
    CONSTRAINT object_position_is_not_negative CHECK (position >= 0)
);

CREATE INDEX object_label_idx ON object (label, graph_id);
CREATE INDEX object_attributes_idx ON object USING gin (attributes);

CREATE TABLE relation (
    graph_id  uuid    NOT NULL,
    position  integer NOT NULL,
    -- Positions of objects of the same graph.
    subject   integer NOT NULL,
    predicate text    NOT NULL,
    object    integer NOT NULL,
    CONSTRAINT relation_pkey PRIMARY KEY (graph_id, position),
    -- One key to the graph alone, not two to `object`: the pair of object keys cost a third of the ingest's time, and the
    -- positions were resolved when the record was read.
    CONSTRAINT relation_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE,
    CONSTRAINT relation_ends_differ CHECK (subject <> object AND subject >= 0 AND object >= 0)
);

CREATE INDEX relation_predicate_idx ON relation (predicate, graph_id);
