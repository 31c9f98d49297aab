"""The public API: what `import openshell_kernel` offers to programs. Only what is named there is public.

Its rooms stand above the trusted side: they plan as Jupyter's server does, and start what the same launcher confines.
"""
