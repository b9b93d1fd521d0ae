-- What asking over the network cost a score run, the wording of questions, and the Fréchet distance (FID) of a generation's
-- pictures from others.

ALTER TABLE score_run
    -- Requests, retries, tokens, money. NULL: nobody was asked over the network.
    ADD COLUMN spent json;

-- Questions in another wording are other questions; those that answers were given to stay.
ALTER TABLE question
    ADD COLUMN template_version text NOT NULL DEFAULT '1',
    DROP CONSTRAINT question_pkey,
    ADD CONSTRAINT question_pkey PRIMARY KEY (graph_id, template_version, question_id);

CREATE TABLE frechet_distance (
    id                      uuid        NOT NULL,
    generation_id           uuid        NOT NULL,
    -- The pictures that it is compared with: those of another generation, or features that an operator has registered.
    reference_generation_id uuid,
    reference_features      text,
    -- A registered Inception network, and its version.
    network                 text        NOT NULL,
    network_version         text        NOT NULL,
    -- reference or corrected.
    mode                    text        NOT NULL,
    -- Distance and sizes. NULL until it has succeeded.
    result                  json,
    state                   task_state  NOT NULL DEFAULT 'queued',
    done                    bigint      NOT NULL DEFAULT 0,
    total                   bigint      NOT NULL DEFAULT 0,
    error                   json,
    created_at              timestamptz NOT NULL DEFAULT now(),
    started_at              timestamptz,
    finished_at             timestamptz,
    CONSTRAINT frechet_distance_pkey PRIMARY KEY (id),
    CONSTRAINT frechet_distance_generation_id_fkey
        FOREIGN KEY (generation_id) REFERENCES generation (id) ON DELETE CASCADE,
    CONSTRAINT frechet_distance_reference_generation_id_fkey
        FOREIGN KEY (reference_generation_id) REFERENCES generation (id) ON DELETE CASCADE,
    CONSTRAINT frechet_distance_has_one_reference CHECK (num_nonnulls(reference_generation_id, reference_features) = 1)
);
