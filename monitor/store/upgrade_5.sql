-- From schema 4: retention finds what is old without looking at what is not.

CREATE INDEX seen_by_age ON seen (received_at) WHERE key NOT GLOB 'code|*';
CREATE INDEX resends_over ON resends (not_before) WHERE NOT is_awaited AND state <> 'claimed';
CREATE INDEX audit_turns ON audit (at) WHERE hash = '' AND actor GLOB 'rule:*';
CREATE INDEX outbox_by_age ON outbox (created_at);
CREATE INDEX outbox_forwards ON outbox (CAST(reference AS INTEGER)) WHERE kind = 'forward';
CREATE INDEX outbox_alerts ON outbox (reference) WHERE kind <> 'forward';
