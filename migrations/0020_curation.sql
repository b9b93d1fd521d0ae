-- What curators say about graphs: tags, collections, another wording of a graph; and each of these taken back.

-- A graph that was edited is another row with the same img_id; the old one keeps its candidates. One of them is current.
ALTER TABLE graph
    ADD COLUMN tags       text[]  NOT NULL DEFAULT '{}',
    -- Codes of the lint's warnings, each once: what lists filter and count by.
    ADD COLUMN lint_codes text[]  NOT NULL DEFAULT '{}',
    ADD COLUMN is_current boolean NOT NULL DEFAULT true,
    -- 1, 2, 3 … among the rows of an img_id.
    ADD COLUMN revision   integer NOT NULL DEFAULT 1,
    -- The row that this one is an edited copy of.
    ADD COLUMN revises    uuid,
    -- Counts changes of what is mutable; the ETag.
    ADD COLUMN version    bigint  NOT NULL DEFAULT 1,
    ADD CONSTRAINT graph_revises_fkey FOREIGN KEY (revises) REFERENCES graph (id);

UPDATE graph SET lint_codes = ARRAY(SELECT DISTINCT finding->>'code' FROM json_array_elements(lint) AS finding ORDER BY 1)
WHERE json_array_length(lint) > 0;

ALTER TABLE graph DROP CONSTRAINT graph_img_id_key;
CREATE UNIQUE INDEX graph_img_id_key ON graph (img_id) WHERE is_current;
CREATE UNIQUE INDEX graph_img_id_revision_key ON graph (img_id, revision);
CREATE INDEX graph_tags_idx ON graph USING gin (tags);
CREATE INDEX graph_lint_codes_idx ON graph USING gin (lint_codes);
-- A subgraph is looked for from its predicate outwards.
CREATE INDEX relation_predicate_ends_idx ON relation (predicate, graph_id, subject, object);

CREATE TABLE collection (
    id          uuid        NOT NULL,
    name        text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    version     bigint      NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT collection_pkey PRIMARY KEY (id),
    CONSTRAINT collection_name_key UNIQUE (name)
);

CREATE TABLE collection_graph (
    collection_id uuid NOT NULL,
    graph_id      uuid NOT NULL,
    CONSTRAINT collection_graph_pkey PRIMARY KEY (collection_id, graph_id),
    CONSTRAINT collection_graph_collection_id_fkey FOREIGN KEY (collection_id) REFERENCES collection (id) ON DELETE CASCADE,
    CONSTRAINT collection_graph_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE
);

CREATE INDEX collection_graph_graph_id_idx ON collection_graph (graph_id);

-- A change that can be taken back: only the graphs that it really changed are in it.
CREATE TYPE edit_kind AS ENUM ('add_tag', 'remove_tag', 'add_to_collection', 'remove_from_collection', 'revise');

CREATE TABLE edit (
    id         uuid        NOT NULL,
    kind       edit_kind   NOT NULL,
    -- The tag, the collection's id, or the img_id.
    subject    text        NOT NULL,
    -- Of a revision: the old row, then the new one.
    graph_ids  uuid[]      NOT NULL,
    undone_at  timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT edit_pkey PRIMARY KEY (id)
);
