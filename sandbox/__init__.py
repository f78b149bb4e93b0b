"""A stand-in for the city's systems and the national portal: deterministic generator and HTTP server.

It imports nothing of the package `hailong`: what it says about its own data (truth) is an independent witness.
"""
