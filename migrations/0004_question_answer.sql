-- What is asked of an image, who answered what, and the scores that follow. Answers and score cards carry the answerer's
-- name and version: another answerer adds rows, and never changes the old ones' meaning.

CREATE TYPE question_kind AS ENUM ('entity', 'attribute', 'relation');
CREATE TYPE answer_value AS ENUM ('yes', 'no', 'cannot_answer');

CREATE TABLE question (
    graph_id    uuid          NOT NULL,
    -- 1-based, topological: parents have smaller numbers.
    question_id integer       NOT NULL,
    kind        question_kind NOT NULL,
    category    text          NOT NULL,
    text        text          NOT NULL,
    tuple       text          NOT NULL,
    parents     integer[]     NOT NULL,
    -- Which object, attribute or relation of the graph it is about, by position.
    target      json          NOT NULL,
    CONSTRAINT question_pkey PRIMARY KEY (graph_id, question_id),
    CONSTRAINT question_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE,
    CONSTRAINT question_parents_come_first CHECK (question_id > 0 AND question_id > ALL (parents))
);

CREATE TABLE answer (
    candidate_id     uuid         NOT NULL,
    question_id      integer      NOT NULL,
    answerer         text         NOT NULL,
    answerer_version text         NOT NULL,
    value            answer_value NOT NULL,
    probability      real         NOT NULL,
    CONSTRAINT answer_pkey PRIMARY KEY (candidate_id, answerer, answerer_version, question_id),
    CONSTRAINT answer_candidate_id_fkey FOREIGN KEY (candidate_id) REFERENCES candidate (id) ON DELETE CASCADE,
    CONSTRAINT answer_probability_is_one CHECK (probability BETWEEN 0 AND 1)
);

CREATE TABLE score_card (
    candidate_id     uuid             NOT NULL,
    metric           text             NOT NULL,
    answerer         text             NOT NULL,
    answerer_version text             NOT NULL,
    score            double precision NOT NULL,
    parts            json             NOT NULL DEFAULT '{}',
    created_at       timestamptz      NOT NULL DEFAULT now(),
    CONSTRAINT score_card_pkey PRIMARY KEY (candidate_id, metric, answerer, answerer_version),
    CONSTRAINT score_card_candidate_id_fkey FOREIGN KEY (candidate_id) REFERENCES candidate (id) ON DELETE CASCADE,
    -- NaN is greater than every number to Postgres, and would win every pair.
    CONSTRAINT score_card_score_is_finite CHECK (score > '-Infinity' AND score < 'Infinity')
);

-- For ranges and orders of scores; it also answers the live pairing without touching the table.
CREATE INDEX score_card_metric_score_idx ON score_card (metric, score) INCLUDE (candidate_id);

CREATE TABLE score_run (
    id               uuid        NOT NULL,
    answerer         text        NOT NULL,
    answerer_version text        NOT NULL,
    -- NULL: every candidate.
    generation_id    uuid,
    state            task_state  NOT NULL DEFAULT 'queued',
    done             bigint      NOT NULL DEFAULT 0,
    total            bigint      NOT NULL DEFAULT 0,
    error            json,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CONSTRAINT score_run_pkey PRIMARY KEY (id),
    CONSTRAINT score_run_generation_id_fkey FOREIGN KEY (generation_id) REFERENCES generation (id) ON DELETE CASCADE
);
