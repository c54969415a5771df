"""An even spread: what a model has to beat."""

from twinloop.planners.interface import Known, Planner, Proposal, sobol

__all__ = ["SobolPlanner"]


class SobolPlanner(Planner, name="sobol"):
    """Propose the points of one scrambled Sobol sequence; no result changes them.

    Example:
        >>> planner = SobolPlanner()
        >>> planner.ask(Known.of({"anneal_s": (0, 120)})).why["rung"]
        'opening'
    """

    def initial(self, known: Known) -> Proposal:
        """Answer at once: no worker is needed."""
        return self.propose(known)

    def propose(self, known: Known) -> Proposal:
        """Return the point of this proposal's number."""
        return Proposal(x=sobol(known))
