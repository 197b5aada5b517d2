-- Every record is one row; the columns beside its bytes are those that are searched.
CREATE TABLE records (
    kind {text} NOT NULL,
    id {text} NOT NULL,
    version INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    moment BIGINT NOT NULL,
    key_id {text},
    provider_id {text},
    state {text},
    body {bytes} NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX records_by_moment ON records (kind, moment, id);
CREATE INDEX records_by_key ON records (kind, key_id, moment, id);
CREATE INDEX records_by_provider ON records (kind, provider_id, moment, id);
