-- Who may do what, and who did what.

CREATE TABLE token (
    id           uuid        NOT NULL,
    name         text        NOT NULL,
    -- SHA-256 (hex) of a secret with 256 random bits: there is nothing to guess, so nothing to slow down.
    secret_hash  text        NOT NULL,
    scopes       text[]      NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT token_pkey PRIMARY KEY (id),
    CONSTRAINT token_secret_hash_key UNIQUE (secret_hash),
    CONSTRAINT token_scopes_are_known
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'curate', 'train', 'admin'])
);

-- One row a request that changes something, refused ones too. No key to `token`: the log outlives it.
CREATE TABLE audit (
    id         uuid        NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    -- NULL: nobody was asked for.
    token_id   uuid,
    token_name text,
    method     text        NOT NULL,
    path       text        NOT NULL,
    status     integer     NOT NULL,
    request_id text        NOT NULL,
    CONSTRAINT audit_pkey PRIMARY KEY (id)
);

CREATE INDEX audit_at_idx ON audit (at);
