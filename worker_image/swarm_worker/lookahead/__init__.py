"""Finds further effects for a round: effects that can run before the missing results are there.

scouts       forks of the plan that go on with placeholders for results
placeholder  placeholders for missing results
guesses      decides which guesses a run can afford
forecast     forecasts scores of evaluations
concurrency  detects an optimizer's own threads and coroutines
"""
