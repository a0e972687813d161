"""The engines: one folder per engine, and ``shared`` for code that several use.

An engine's files for the plan: ``profile.py`` (images, methods, formats) and ``plan.py`` (PLAN, a
base.PlanHalf) with its modules. For the run: ``run.py`` (RUN, a base.RunHalf, and DIALECT, METRICS and FILES
where it has them). ``registry.py`` names the folders; tests/unit/engines adds one.
"""
