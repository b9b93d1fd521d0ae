-- Images made of graphs, with everything that is needed to make each again: weights hash, seed, steps, guidance, sampler.

CREATE TABLE model (
    -- SHA-256 (hex) over all weights and configurations of the folder.
    hash       text        NOT NULL,
    name       text        NOT NULL,
    path       text        NOT NULL,
    config     json        NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT model_pkey PRIMARY KEY (hash)
);

CREATE INDEX model_name_idx ON model (name);

CREATE TABLE generation (
    id                  uuid             NOT NULL,
    model_hash          text             NOT NULL,
    seed                bigint           NOT NULL,
    num_inference_steps integer          NOT NULL,
    guidance_scale      double precision NOT NULL,
    sampler             text             NOT NULL,
    num_candidates      integer          NOT NULL,
    -- How the graphs were named in the request; which they were is in generation_graph.
    selection           json             NOT NULL DEFAULT '{}',
    state               task_state       NOT NULL DEFAULT 'queued',
    done                bigint           NOT NULL DEFAULT 0,
    total               bigint           NOT NULL DEFAULT 0,
    error               json,
    created_at          timestamptz      NOT NULL DEFAULT now(),
    started_at          timestamptz,
    finished_at         timestamptz,
    CONSTRAINT generation_pkey PRIMARY KEY (id),
    CONSTRAINT generation_model_hash_fkey FOREIGN KEY (model_hash) REFERENCES model (hash),
    CONSTRAINT generation_settings_are_positive
        CHECK (num_inference_steps BETWEEN 1 AND 1000 AND guidance_scale >= 0 AND num_candidates BETWEEN 1 AND 64)
);

-- The graphs that a generation was asked for, fixed when it was asked: graphs ingested later do not slip into a resumed run.
CREATE TABLE generation_graph (
    generation_id uuid    NOT NULL,
    position      integer NOT NULL,
    graph_id      uuid    NOT NULL,
    CONSTRAINT generation_graph_pkey PRIMARY KEY (generation_id, position),
    CONSTRAINT generation_graph_graph_id_key UNIQUE (generation_id, graph_id),
    CONSTRAINT generation_graph_generation_id_fkey FOREIGN KEY (generation_id) REFERENCES generation (id) ON DELETE CASCADE,
    CONSTRAINT generation_graph_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE
);

CREATE TABLE candidate (
    id            uuid        NOT NULL,
    generation_id uuid        NOT NULL,
    graph_id      uuid        NOT NULL,
    index         integer     NOT NULL,
    -- Never negative: below 2^53, so that it is the same number in JSON readers that know only doubles.
    seed          bigint      NOT NULL,
    image_blob    text        NOT NULL,
    -- The scaled latent that was decoded into the image.
    latent_blob   text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT candidate_pkey PRIMARY KEY (id),
    CONSTRAINT candidate_generation_graph_index_key UNIQUE (generation_id, graph_id, index),
    CONSTRAINT candidate_generation_id_fkey FOREIGN KEY (generation_id) REFERENCES generation (id) ON DELETE CASCADE,
    CONSTRAINT candidate_graph_id_fkey FOREIGN KEY (graph_id) REFERENCES graph (id) ON DELETE CASCADE,
    CONSTRAINT candidate_index_is_not_negative CHECK (index >= 0),
    CONSTRAINT candidate_seed_fits_a_double CHECK (seed >= 0 AND seed < 9007199254740992)
);

CREATE INDEX candidate_graph_id_idx ON candidate (graph_id, generation_id, index);
