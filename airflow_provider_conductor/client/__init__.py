"""Conductor's REST API, without Airflow: usable in a notebook as it is.

``sync.ConductorClient`` blocks (requests), ``aio.AsyncConductorClient`` does not (aiohttp); import the one you need.
"""
