-- What waits for users who are away, and the state that a server leaves to the next.

-- Parcels are numbered by the database, not by the push: two servers may give two pushes the same
-- number.
CREATE SEQUENCE parcel_numbers;

CREATE TABLE parcels (
    parcel  BIGINT PRIMARY KEY,
    at      BIGINT NOT NULL, -- milliseconds since 1970
    content BYTEA NOT NULL
);

-- What is too old goes first.
CREATE INDEX parcels_by_at ON parcels (at);

-- Who waits for what, in the order in which they get it. The holder is a uid, or empty for everyone,
-- which no uid is. The bytes are the content's, so that counting needs no other table.
CREATE TABLE backlog (
    holder BYTEA NOT NULL,
    id     BIGINT NOT NULL, -- the push's number
    parcel BIGINT NOT NULL,
    bytes  BIGINT NOT NULL,
    PRIMARY KEY (holder, id, parcel)
);

-- Who still waits for a parcel. With all of the key, since a parcel may be for many.
CREATE INDEX backlog_by_parcel ON backlog (parcel, holder, id);

-- Up to which push a user has what is for everyone. Only those whom that spares something.
CREATE TABLE confirmed (
    uid BYTEA PRIMARY KEY,
    id  BIGINT NOT NULL
);

-- Which of them no longer spare anything.
CREATE INDEX confirmed_by_id ON confirmed (id);

CREATE TABLE state (
    part  BIGINT PRIMARY KEY,
    bytes BYTEA NOT NULL
);

-- Holds nothing. Whoever removes from the tables above locks it first: of two at once that remove
-- the last rows of a parcel, each would still see the other's and leave the parcel.
CREATE TABLE removals (
    nothing SMALLINT
);
