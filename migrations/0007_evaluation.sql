-- Base and trained model on held-out graphs with the same seeds. The images are rows of their own and are written as they
-- are made: a killed evaluation goes on where it was.

CREATE TYPE evaluation_role AS ENUM ('base', 'trained');

-- `final` is what a job is judged by; `progress` ones, on other graphs, choose its best checkpoint.
CREATE TYPE evaluation_kind AS ENUM ('final', 'progress');

CREATE TABLE evaluation (
    id                 uuid            NOT NULL,
    job_id             uuid,
    name               text            NOT NULL DEFAULT '',
    kind               evaluation_kind NOT NULL DEFAULT 'final',
    -- The training step whose weights are compared.
    step               integer,
    base_model_hash    text,
    trained_model_hash text,
    state              task_state      NOT NULL DEFAULT 'queued',
    settings           json            NOT NULL,
    result             json,
    done               bigint          NOT NULL DEFAULT 0,
    total              bigint          NOT NULL DEFAULT 0,
    error              json,
    created_at         timestamptz     NOT NULL DEFAULT now(),
    started_at         timestamptz,
    finished_at        timestamptz,
    CONSTRAINT evaluation_pkey PRIMARY KEY (id),
    CONSTRAINT evaluation_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE
);

CREATE INDEX evaluation_job_id_idx ON evaluation (job_id);

CREATE TABLE evaluation_image (
    evaluation_id uuid             NOT NULL,
    graph_id      uuid             NOT NULL,
    index         integer          NOT NULL,
    role          evaluation_role  NOT NULL,
    seed          bigint           NOT NULL,
    image_blob    text             NOT NULL,
    score         double precision NOT NULL,
    by_kind       json             NOT NULL DEFAULT '{}',
    CONSTRAINT evaluation_image_pkey PRIMARY KEY (evaluation_id, graph_id, index, role),
    CONSTRAINT evaluation_image_evaluation_id_fkey FOREIGN KEY (evaluation_id) REFERENCES evaluation (id) ON DELETE CASCADE,
    CONSTRAINT evaluation_image_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE
);

-- Scored images by what made them: a base model is sampled once for two jobs, and a killed evaluation finds its work again.
-- No key to `model`: trained weights have a hash long before, or without ever, being a model of the store.
CREATE TABLE evaluation_sample (
    model_hash          text             NOT NULL,
    graph_id            uuid             NOT NULL,
    seed                bigint           NOT NULL,
    num_inference_steps integer          NOT NULL,
    guidance_scale      double precision NOT NULL,
    answerer            text             NOT NULL,
    answerer_version    text             NOT NULL,
    score               double precision NOT NULL,
    kinds               json             NOT NULL DEFAULT '{}',
    image_blob          text,
    CONSTRAINT evaluation_sample_pkey PRIMARY KEY
        (model_hash, graph_id, seed, num_inference_steps, guidance_scale, answerer, answerer_version),
    CONSTRAINT evaluation_sample_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE
);
