-- What people say about two candidates of the same graph, shown beside each other without scores. One vote a voter and pair;
-- a later one replaces it. Pairings read them as the metric `votes`.

CREATE TYPE vote_choice AS ENUM ('left', 'right', 'both_good', 'both_bad', 'skip');

CREATE TABLE vote (
    id         uuid        NOT NULL,
    graph_id   uuid        NOT NULL,
    -- As they were shown, so that a habit of taking one side can be measured.
    left_id    uuid        NOT NULL,
    right_id   uuid        NOT NULL,
    -- A name that the voter gives; '' is nobody in particular.
    voter      text        NOT NULL DEFAULT '',
    choice     vote_choice NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vote_pkey PRIMARY KEY (id),
    CONSTRAINT vote_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE,
    CONSTRAINT vote_left_id_fkey FOREIGN KEY (left_id) REFERENCES candidate (id) ON DELETE CASCADE,
    CONSTRAINT vote_right_id_fkey FOREIGN KEY (right_id) REFERENCES candidate (id) ON DELETE CASCADE,
    CONSTRAINT vote_sides_differ CHECK (left_id <> right_id)
);

-- The pair is the same whichever side each candidate was shown on.
CREATE UNIQUE INDEX vote_voter_pair_key ON vote (voter, least(left_id, right_id), greatest(left_id, right_id));
CREATE INDEX vote_graph_id_idx ON vote (graph_id);
CREATE INDEX vote_left_id_idx ON vote (left_id);
CREATE INDEX vote_right_id_idx ON vote (right_id);
