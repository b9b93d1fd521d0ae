-- Pairings are derived from score cards and a policy, live; a frozen one is a fact: its pairs, its policy and one hash over
-- both. Freezing the same thing twice gives the same pairing, which the unique hash enforces.

CREATE TABLE pairing (
    id          uuid             NOT NULL,
    name        text             NOT NULL,
    policy      json             NOT NULL,
    hash        text             NOT NULL,
    num_pairs   integer          NOT NULL,
    num_graphs  integer          NOT NULL,
    mean_margin double precision NOT NULL,
    created_at  timestamptz      NOT NULL DEFAULT now(),
    CONSTRAINT pairing_pkey PRIMARY KEY (id),
    CONSTRAINT pairing_hash_key UNIQUE (hash),
    CONSTRAINT pairing_counts_are_not_negative CHECK (num_pairs >= 0 AND num_graphs >= 0)
);

CREATE TABLE pair (
    pairing_id   uuid             NOT NULL,
    position     integer          NOT NULL,
    graph_id     uuid             NOT NULL,
    winner_id    uuid             NOT NULL,
    loser_id     uuid             NOT NULL,
    winner_score double precision NOT NULL,
    loser_score  double precision NOT NULL,
    margin       double precision NOT NULL,
    CONSTRAINT pair_pkey PRIMARY KEY (pairing_id, position),
    CONSTRAINT pair_winner_loser_key UNIQUE (pairing_id, winner_id, loser_id),
    CONSTRAINT pair_pairing_id_fkey FOREIGN KEY (pairing_id) REFERENCES pairing (id) ON DELETE CASCADE,
    -- A frozen pairing outlives nothing that it names: a candidate in use cannot be deleted.
    CONSTRAINT pair_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id),
    CONSTRAINT pair_winner_id_fkey FOREIGN KEY (winner_id) REFERENCES candidate (id),
    CONSTRAINT pair_loser_id_fkey FOREIGN KEY (loser_id) REFERENCES candidate (id),
    CONSTRAINT pair_winner_is_not_loser CHECK (winner_id <> loser_id)
);

CREATE INDEX pair_winner_id_idx ON pair (winner_id);
CREATE INDEX pair_loser_id_idx ON pair (loser_id);
CREATE INDEX pair_graph_id_idx ON pair (graph_id);
