-- The text index of the local store. Disposable: everything in it comes from the rollouts and from
-- the names in the list index.

-- How far each thread has been read. The numbers are never used again while texts of them are left.
CREATE TABLE threads (
    no        INTEGER PRIMARY KEY,
    thread_id TEXT NOT NULL UNIQUE,
    stale     INTEGER NOT NULL,  -- 0: read to its end, 1: look at it, 2: look at it first
    version   INTEGER NOT NULL,  -- grows with each change of the row
    problem   TEXT,
    place     BLOB               -- text_source.Place as JSON; NULL: nothing was read yet
);
CREATE INDEX threads_stale ON threads (stale, no) WHERE stale > 0;
CREATE INDEX threads_problem ON threads (no) WHERE problem IS NOT NULL;

-- The texts: id is the thread's number and the position of the line (see text_db.doc_id), so that
-- the texts of a thread stand together. Position 0 is name and title.
CREATE TABLE docs (
    id      INTEGER PRIMARY KEY,
    offset  INTEGER,           -- of the line in the plain file; NULL: of a base, or no line
    time_us INTEGER NOT NULL,
    tool    TEXT
);

-- Their words. Most texts are of tools: the first column costs least.
CREATE VIRTUAL TABLE texts USING fts5 (
    tool, assistant, user, title,
    content = '', contentless_delete = 1, detail = full, tokenize = 'ascii'
);
INSERT INTO texts (texts, rank) VALUES ('hashsize', 16777216);

-- How far the changes of each list index have been noticed.
CREATE TABLE sources (
    identity TEXT PRIMARY KEY,
    number   INTEGER NOT NULL
) WITHOUT ROWID;
