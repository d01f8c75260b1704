"""Conductor's properties for each database."""

from __future__ import annotations

__all__ = ["BACKENDS", "conductor_settings"]

BACKENDS = ("postgres", "mysql", "redis")
"""What Conductor keeps its data in. No wheel and no Maven artifact carries a server of MySQL; one has MariaDB's."""


def conductor_settings(backend: str, port: int) -> dict[str, str]:
    """Conductor's properties for a backend, as its documentation gives them for production."""
    match backend:
        case "postgres":
            return {
                "conductor.db.type": "postgres",
                "conductor.queue.type": "postgres",
                "conductor.external-payload-storage.type": "postgres",
                "spring.datasource.url": f"jdbc:postgresql://127.0.0.1:{port}/conductor",
                "spring.datasource.username": "conductor",
                "spring.datasource.password": "",
                "spring.datasource.hikari.maximum-pool-size": "50",
                "conductor.indexing.enabled": "true",
                "conductor.indexing.type": "postgres",
                # Anything above 0 makes the server look for Elasticsearch beside PostgreSQL.
                "conductor.elasticsearch.version": "0",
                "conductor.app.taskExecutionPostponeDuration": "10s",
                "conductor.workflow-execution-lock.type": "postgres",
                "conductor.app.workflowExecutionLockEnabled": "true",
            }
        case "mysql":
            return {
                "conductor.db.type": "mysql",
                # It has queues of its own; with the default type, Conductor would make SQLite's beside them.
                "conductor.queue.type": "mysql",
                "spring.datasource.url": f"jdbc:mysql://127.0.0.1:{port}/conductor",
                "spring.datasource.username": "conductor",
                "spring.datasource.password": "",
                "spring.datasource.hikari.maximum-pool-size": "50",
                # Its index is in Elasticsearch or OpenSearch, or nowhere, and its locks are in Redis, or in the server.
                "conductor.indexing.enabled": "false",
                "conductor.app.taskExecutionPostponeDuration": "10s",
                "conductor.workflow-execution-lock.type": "local_only",
                "conductor.app.workflowExecutionLockEnabled": "true",
            }
        case "redis":
            return {
                "conductor.db.type": "redis_standalone",
                "conductor.queue.type": "redis_standalone",
                "conductor.redis.hosts": f"127.0.0.1:{port}:us-east-1c",
                "conductor.redis-lock.serverAddress": f"redis://127.0.0.1:{port}",
                "conductor.redis.taskDefCacheRefreshInterval": "1",
                "conductor.redis.workflowNamespacePrefix": "conductor",
                "conductor.redis.queueNamespacePrefix": "conductor_queues",
                "conductor.redis.ssl": "false",
                "conductor.workflow-execution-lock.type": "redis",
                "conductor.app.workflowExecutionLockEnabled": "true",
                "conductor.indexing.enabled": "false",
            }
    raise ValueError(f"no settings for {backend!r}; there are {', '.join(BACKENDS)}")
