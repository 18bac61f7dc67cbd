-- What waits for users who are away, and the state that a server leaves to the next.

-- Numbered by the file, not by the push: two servers may give two pushes the same number.
CREATE TABLE parcels (
    parcel  INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL, -- milliseconds since 1970
    content BLOB NOT NULL
);

-- What is too old goes first.
CREATE INDEX parcels_by_at ON parcels (at);

-- Who waits for what, in the order in which they get it. The holder is a uid, or empty for everyone,
-- which no uid is. The bytes are the content's, so that counting needs no other table.
CREATE TABLE backlog (
    holder BLOB NOT NULL,
    id     INTEGER NOT NULL, -- the push's number
    parcel INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (holder, id, parcel)
) WITHOUT ROWID;

-- Who still waits for a parcel.
CREATE INDEX backlog_by_parcel ON backlog (parcel);

-- Up to which push a user has what is for everyone. Only those whom that spares something.
CREATE TABLE confirmed (
    uid BLOB PRIMARY KEY,
    id  INTEGER NOT NULL
) WITHOUT ROWID;

-- Which of them no longer spare anything.
CREATE INDEX confirmed_by_id ON confirmed (id);

CREATE TABLE state (
    part  INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
);
