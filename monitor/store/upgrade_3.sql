-- From schema 2: firings of rules, the last values of facts and answers to Idempotency-Keys are new.

CREATE TABLE firings (              -- rules from the first sign that they hold to their end
    id          TEXT PRIMARY KEY,
    since       REAL NOT NULL,
    ended_at    REAL,
    rests_until REAL,               -- until when an ended one keeps its rule from firing again
    record      BLOB NOT NULL
);
CREATE INDEX firings_by_end ON firings (ended_at);
CREATE INDEX firings_live ON firings (rests_until) WHERE rests_until IS NOT NULL;

CREATE TABLE rule_values (          -- the last value of each fact that a `change:` waits for
    condition   TEXT NOT NULL,
    "group"     TEXT NOT NULL,
    value       TEXT NOT NULL,
    at          REAL NOT NULL,
    PRIMARY KEY (condition, "group")
) WITHOUT ROWID;

CREATE TABLE answers (              -- Graph's first answer to each Idempotency-Key
    key    TEXT PRIMARY KEY,        -- keyed hash of number and key
    at     REAL NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (at);
