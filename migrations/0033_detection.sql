-- What a detector found in a candidate: the boxes that its scores follow from, for people to see.

CREATE TABLE detection (
    candidate_id     uuid        NOT NULL,
    answerer         text        NOT NULL,
    answerer_version text        NOT NULL,
    -- A list of {"label", "box": [x1, y1, x2, y2] in shares of the picture, "confidence"}, the surest first.
    found            json        NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT detection_pkey PRIMARY KEY (candidate_id, answerer, answerer_version),
    CONSTRAINT detection_candidate_id_fkey FOREIGN KEY (candidate_id) REFERENCES candidate (id) ON DELETE CASCADE
);
