-- Scorers beside answerers: networks of metrics that an operator has registered, detectors, people's votes. What could not be
-- scored is written down with its reason, and answers say how long they took.

-- Networks that judge images (CLIP, PickScore, the aesthetic predictor, BLIP-VQA), by the name under which requests ask for
-- them: a request names no path.
CREATE TABLE metric_network (
    name       text        NOT NULL,
    -- The scorer that it is for: clip-score, pick-score, aesthetic, blip-vqa.
    scorer     text        NOT NULL,
    path       text        NOT NULL,
    -- Folder of the tokenizer, where it is not `path`.
    processor  text,
    -- The aesthetic predictor's layers.
    head       text,
    -- Version of the scorer that it makes: of its preparation, and the hash of its weights.
    version    text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT metric_network_pkey PRIMARY KEY (name)
);

-- Why a candidate has no score of a scorer's version. Gone as soon as it has one.
CREATE TABLE score_failure (
    candidate_id     uuid        NOT NULL,
    answerer         text        NOT NULL,
    answerer_version text        NOT NULL,
    reason           text        NOT NULL,
    attempts         integer     NOT NULL DEFAULT 1,
    failed_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT score_failure_pkey PRIMARY KEY (candidate_id, answerer, answerer_version),
    CONSTRAINT score_failure_candidate_id_fkey FOREIGN KEY (candidate_id) REFERENCES candidate (id) ON DELETE CASCADE
);

ALTER TABLE answer
    -- Milliseconds from asking to having it, of the whole picture where its questions were asked together. NULL: nobody knows.
    ADD COLUMN latency_ms real;

ALTER TABLE score_run
    -- What it writes: a metric is that of the scorer that ran last for it.
    ADD COLUMN metrics text[] NOT NULL DEFAULT '{dpg,attribute,spatial,three_in_one}',
    -- The registered network, where the scorer needs one.
    ADD COLUMN network text,
    -- 1, or the number of a repetition that only measures how stable the scorer is.
    ADD COLUMN repetition integer NOT NULL DEFAULT 1,
    -- Answers were there already: nothing is asked.
    ADD COLUMN recorded boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT score_run_repetition_is_positive CHECK (repetition > 0);
