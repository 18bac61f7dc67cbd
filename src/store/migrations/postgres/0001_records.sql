-- Names and messages are BYTEA: they are compared and kept byte for byte, and TEXT holds no NUL.

-- The number of the newest record ever kept. One row. Records are numbered from it in the
-- transaction that keeps them, so there are no gaps and no number is used twice; the lock on the
-- row makes records appear in the order of their numbers.
CREATE TABLE counters (
    one  SMALLINT PRIMARY KEY CHECK (one = 1),
    last BIGINT NOT NULL
);
INSERT INTO counters (one, last) VALUES (1, 0);

CREATE TABLE records (
    id     BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL, -- milliseconds since 1970
    sender BYTEA,           -- NULL: the backend
    body   BYTEA NOT NULL
);

-- The key is in the order of writing, and of pruning.
CREATE TABLE addressees (
    record BIGINT NOT NULL,
    kind   SMALLINT NOT NULL, -- 0: a user, 1: a group
    name   BYTEA NOT NULL,
    sender BYTEA,             -- as in records
    PRIMARY KEY (record, kind, name)
);

-- What was for a user or a group, by number.
CREATE INDEX addressees_by_name ON addressees (kind, name, record);

-- What one user sent to another, by number.
CREATE INDEX addressees_by_pair ON addressees (name, sender, record)
    WHERE kind = 0 AND sender IS NOT NULL;

-- Up to which record a user has been handed what was for them.
CREATE TABLE cursors (
    uid    BYTEA PRIMARY KEY,
    record BIGINT NOT NULL
);
