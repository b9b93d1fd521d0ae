-- Small facts of this store under a name: how far the demo is, which model is the default.

CREATE TABLE setting (
    key        text        NOT NULL,
    value      json        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT setting_pkey PRIMARY KEY (key)
);
