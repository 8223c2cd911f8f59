"""Finds effects that can run before missing results are there, for the same round.

scouts       forks of the plan that go on with placeholders for results
placeholder  these placeholders
guesses      decides which guesses a run can afford
forecast     forecasts scores of evaluations
concurrency  detects an optimizer's own threads and coroutines
"""
