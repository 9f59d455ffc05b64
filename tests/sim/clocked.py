"""A mission that is over in four minutes of mission time: in contact all along, imaging after one minute."""

import dataclasses

from sim.plan import make_plan
from sim.scenario import EncoderSection, LabelOrder, WorldSection, load_scenario


def plan_of_minutes():
    demo = dataclasses.replace(
        load_scenario("demo"),
        duration_h=9.0,
        world=WorldSection(12, 12, 12),
        labels=(LabelOrder(0.0, 1, 1),),
        commands=(),
    )
    demo = dataclasses.replace(
        demo,
        learner=dataclasses.replace(demo.learner, name="moments"),
        camera=dataclasses.replace(demo.camera, revisit=False),
        encoder=EncoderSection(),
    )
    plan = make_plan(demo)
    short = dataclasses.replace(demo, duration_h=0.06)
    contact = dataclasses.replace(plan.contacts[0], aos_s=5.0, los_s=short.duration_s)
    overpass = dataclasses.replace(plan.overpasses[0], t_s=plan.overpasses[0].t_s - plan.overpasses[0].t_s[0] + 60)
    plan = dataclasses.replace(plan, scenario=short, contacts=[contact], overpasses=[overpass])
    plan.orders = [dataclasses.replace(order, at_s=0.0) for order in plan.orders[:2]]
    return plan
