-- What was said, as words, so that it can be searched. Derived from the logs; may be emptied.

CREATE TABLE threadstore.thread_texts (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    -- Of the line in the thread's history; 0: name and title.
    position bigint NOT NULL,
    -- In whose log the line is: a fork by reference has inherited ones.
    log_id uuid NOT NULL,
    role text NOT NULL,
    tool text,
    said_at timestamptz NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (tenant, thread_id, position)
);

CREATE INDEX thread_texts_words ON threadstore.thread_texts USING gin (words)
    WITH (gin_pending_list_limit = 1024);

-- How far the texts of a log are indexed, and what the next line's text depends on.
CREATE TABLE threadstore.thread_text_marks (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    position bigint NOT NULL,
    state json NOT NULL,
    PRIMARY KEY (tenant, thread_id)
) WITH (fillfactor = 70);

-- A log is pending from when somebody may write it until nobody may and all of it is indexed. So
-- what has to be indexed is found without looking at every log, and no append has to say anything.
ALTER TABLE threadstore.thread_logs ADD COLUMN texts_pending boolean NOT NULL DEFAULT true;
CREATE INDEX thread_logs_pending ON threadstore.thread_logs (tenant, thread_id)
    WHERE texts_pending;

ALTER TABLE threadstore.thread_texts ENABLE ROW LEVEL SECURITY;
ALTER TABLE threadstore.thread_texts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON threadstore.thread_texts
    USING (tenant = current_setting('threadstore.tenant', true));
ALTER TABLE threadstore.thread_text_marks ENABLE ROW LEVEL SECURITY;
ALTER TABLE threadstore.thread_text_marks FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON threadstore.thread_text_marks
    USING (tenant = current_setting('threadstore.tenant', true));

-- Whoever is held to row-level security has no use of an index on words: the server lets conditions
-- of a statement touch a row only after the policies have, unless it knows that they tell nobody
-- anything, and it does not know that of text search. A condition of a policy may use the index. So
-- a search says its words like its tenant. Without any, this takes nothing away: no word of ours has
-- a capital letter or an underscore.
CREATE POLICY search ON threadstore.thread_texts AS RESTRICTIVE FOR SELECT
    USING (words @@ coalesce(
        nullif(current_setting('threadstore.search', true), ''), '!NO_WORD'
    )::tsquery);
