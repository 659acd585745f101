"""A judge model behind an HTTP endpoint: client, cost, cache, one sitting."""
