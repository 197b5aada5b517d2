-- Decisions are many and are written all the time: a table of their own, with one index. Those of
-- one key or provider are found by going through them, newest first; how many there are is bounded.
CREATE TABLE decisions (
    id {text} NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    moment BIGINT NOT NULL,
    key_id {text},
    provider_id {text},
    body {bytes} NOT NULL
);
CREATE INDEX decisions_by_moment ON decisions (moment, id);
INSERT INTO decisions (id, version, moment, key_id, provider_id, body)
    SELECT id, version, moment, key_id, provider_id, body FROM records
    WHERE kind = 'RoutingDecision';
DELETE FROM records WHERE kind = 'RoutingDecision';
