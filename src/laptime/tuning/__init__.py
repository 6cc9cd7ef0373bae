"""Tuning: which settings of a job that nobody edits make it faster, proven by experiment."""
