-- What of the list index can be made when its rows are there: that takes a fraction of the time of
-- keeping it right with each of them. Until then the index is not complete (see filling.py).

-- Each order, as a whole and behind each filter: a page is a piece of one of them, or a merge of
-- pieces (see index_query.py).
CREATE INDEX IF NOT EXISTS threads_archived_created ON threads (archived, created_ms, id);
CREATE INDEX IF NOT EXISTS threads_archived_updated ON threads (archived, updated_ms, id);
CREATE INDEX IF NOT EXISTS threads_archived_recency ON threads (archived, recency_ms, id);
CREATE INDEX IF NOT EXISTS threads_shelf_created ON threads (shelf, created_ms, id);
CREATE INDEX IF NOT EXISTS threads_shelf_updated ON threads (shelf, updated_ms, id);
CREATE INDEX IF NOT EXISTS threads_shelf_recency ON threads (shelf, recency_ms, id);
CREATE INDEX IF NOT EXISTS threads_cwd_created ON threads (cwd, shelf, created_ms, id);
CREATE INDEX IF NOT EXISTS threads_cwd_updated ON threads (cwd, shelf, updated_ms, id);
CREATE INDEX IF NOT EXISTS threads_cwd_recency ON threads (cwd, shelf, recency_ms, id);
CREATE INDEX IF NOT EXISTS threads_git_origin_created ON threads (git_origin, shelf, created_ms, id)
    WHERE git_origin IS NOT NULL;
CREATE INDEX IF NOT EXISTS threads_git_origin_updated ON threads (git_origin, shelf, updated_ms, id)
    WHERE git_origin IS NOT NULL;
CREATE INDEX IF NOT EXISTS threads_git_origin_recency ON threads (git_origin, shelf, recency_ms, id)
    WHERE git_origin IS NOT NULL;
CREATE INDEX IF NOT EXISTS threads_model_created ON threads (model, shelf, created_ms, id)
    WHERE model IS NOT NULL;
CREATE INDEX IF NOT EXISTS threads_model_updated ON threads (model, shelf, updated_ms, id)
    WHERE model IS NOT NULL;
CREATE INDEX IF NOT EXISTS threads_model_recency ON threads (model, shelf, recency_ms, id)
    WHERE model IS NOT NULL;
CREATE INDEX IF NOT EXISTS threads_parent ON threads (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS threads_name ON threads (name) WHERE name IS NOT NULL;

-- What is noted of each thread that comes; of those that came before, filling.py notes it.
CREATE TRIGGER IF NOT EXISTS thread_came AFTER INSERT ON threads BEGIN
    INSERT OR REPLACE INTO changes SELECT new.key, number FROM next_change;
    INSERT OR IGNORE INTO unread_titles VALUES (new.key);
END;
CREATE TRIGGER IF NOT EXISTS file_changed AFTER INSERT ON files BEGIN
    INSERT OR REPLACE INTO changes
        SELECT key, number FROM threads, next_change WHERE id = new.thread_id;
END;
