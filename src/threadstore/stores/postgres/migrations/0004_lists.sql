-- Lists by what few threads may have: without these a page walks everything to find that out.
CREATE INDEX threads_provider ON threadstore.threads
    (tenant, model_provider, recency_at, thread_id);
CREATE INDEX threads_source ON threadstore.threads (tenant, source_kind, recency_at, thread_id);
CREATE INDEX threads_model ON threadstore.threads (tenant, model, recency_at, thread_id)
    WHERE model IS NOT NULL;
CREATE INDEX threads_git_origin ON threadstore.threads
    (tenant, git_origin, recency_at, thread_id) WHERE git_origin IS NOT NULL;
