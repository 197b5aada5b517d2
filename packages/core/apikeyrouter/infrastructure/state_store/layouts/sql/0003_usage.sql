-- What was used: a small row for each request, in the order of time, and sums by hour and by day.
-- Rows are added in the transaction that adds them to the sums, so the two always agree.
CREATE TABLE usage_rows (
    moment BIGINT NOT NULL,
    request_id {text} NOT NULL,
    client {text} NOT NULL,
    model {text} NOT NULL,
    provider_id {text} NOT NULL,
    key_id {text} NOT NULL,
    endpoint {text} NOT NULL,
    outcome {text} NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_tokens BIGINT NOT NULL,
    cost_microusd BIGINT,
    waited_ms BIGINT NOT NULL,
    first_token_ms BIGINT,
    total_ms BIGINT NOT NULL,
    PRIMARY KEY (moment, request_id)
){clustered};
CREATE INDEX usage_by_client ON usage_rows (client, moment, request_id);
CREATE INDEX usage_by_model ON usage_rows (model, moment, request_id);
CREATE INDEX usage_by_provider ON usage_rows (provider_id, moment, request_id);
CREATE INDEX usage_by_key ON usage_rows (key_id, moment, request_id);
-- Answered requests are nearly all; the others are few, and looked for.
CREATE INDEX usage_by_outcome ON usage_rows (outcome, moment, request_id) WHERE outcome <> 'ok';
CREATE INDEX usage_failed ON usage_rows (moment, request_id)
    WHERE outcome <> 'ok' AND outcome <> 'cancelled';
-- start: hours since the epoch, at which the hour or the day begins.
CREATE TABLE usage_hours (
    start BIGINT NOT NULL,
    client {text} NOT NULL,
    model {text} NOT NULL,
    provider_id {text} NOT NULL,
    key_id {text} NOT NULL,
    requests BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    costed BIGINT NOT NULL,
    cost_microusd BIGINT NOT NULL,
    PRIMARY KEY (start, client, model, provider_id, key_id)
){clustered};
CREATE TABLE usage_days (
    start BIGINT NOT NULL,
    client {text} NOT NULL,
    model {text} NOT NULL,
    provider_id {text} NOT NULL,
    key_id {text} NOT NULL,
    requests BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    costed BIGINT NOT NULL,
    cost_microusd BIGINT NOT NULL,
    PRIMARY KEY (start, client, model, provider_id, key_id)
){clustered};
