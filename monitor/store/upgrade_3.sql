-- From schema 2: firings of rules and the last values of facts are new.

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
