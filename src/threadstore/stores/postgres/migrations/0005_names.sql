-- Threads are found by their name. NULL: the record has none.
ALTER TABLE threadstore.threads ADD COLUMN name text;

-- Copied from the records of every tenant, so the owner must see them for once. A null character
-- is what the server cannot take out of JSON.
ALTER TABLE threadstore.threads NO FORCE ROW LEVEL SECURITY;
UPDATE threadstore.threads
SET name = replace(record::text, '\u0000', '\ufffd')::json ->> 'name';
ALTER TABLE threadstore.threads FORCE ROW LEVEL SECURITY;

CREATE INDEX threads_name ON threadstore.threads (tenant, name) WHERE name IS NOT NULL;
