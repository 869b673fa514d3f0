"""What people read: ``report.html`` (:mod:`reports.render.page`), ``junit.xml``, and the comparison of two runs."""
