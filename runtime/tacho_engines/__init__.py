"""The engines: one folder per engine, and ``shared`` for code that several use.

For the planner: ``profile.py`` (images, methods, formats) and ``plan.py`` (PLAN, a base.PlannerAdapter) with
its modules. For the runtime: ``run.py`` (RUN, a base.RuntimeAdapter, and optionally DIALECT, METRICS, FILES).
``registry.py`` lists the folders; tests/unit/engines shows how to add one.
"""
