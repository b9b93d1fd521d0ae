-- A candidate's sampling path beside the path of its inversion. The same request is the same row: both paths follow from the
-- candidate and these settings. Pictures of states are blobs that `result` names.

CREATE TYPE inverse_label AS ENUM ('destination', 'source');

CREATE TABLE inversion (
    id                  uuid             NOT NULL,
    candidate_id        uuid             NOT NULL,
    num_inference_steps integer          NOT NULL,
    guidance_scale      double precision NOT NULL,
    label               inverse_label    NOT NULL,
    state               task_state       NOT NULL DEFAULT 'queued',
    done                bigint           NOT NULL DEFAULT 0,
    total               bigint           NOT NULL DEFAULT 0,
    result              json,
    error               json,
    created_at          timestamptz      NOT NULL DEFAULT now(),
    started_at          timestamptz,
    finished_at         timestamptz,
    CONSTRAINT inversion_pkey PRIMARY KEY (id),
    CONSTRAINT inversion_request_key UNIQUE (candidate_id, num_inference_steps, guidance_scale, label),
    CONSTRAINT inversion_candidate_id_fkey FOREIGN KEY (candidate_id) REFERENCES candidate (id) ON DELETE CASCADE,
    CONSTRAINT inversion_settings_are_positive CHECK (num_inference_steps BETWEEN 1 AND 1000 AND guidance_scale >= 0)
);
