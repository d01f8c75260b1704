"""Find the workflows that end, once each, in the server's search index. Internal: nothing here is meant for users."""
