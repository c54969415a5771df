"""The campaign: core, stepper, conductor, journal, pool, depot."""
