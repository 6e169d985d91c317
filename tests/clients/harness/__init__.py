"""Runs real log clients against Spillway, and compares what they sent with what is stored.

Only the standard library is used.
"""
