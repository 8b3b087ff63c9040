"""The admin endpoints: health, readiness, metrics, invalidation, inspection.

Belongs here: their JSON, their guard.
Does not belong here: what they ask for; they are handed functions.
May import: what ``web`` may.
"""
