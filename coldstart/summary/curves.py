"""The curves of the fit: losses, and whatever else was measured on validation tracks."""

from __future__ import annotations

from coldstart.reporting.charts import Curve, Panel, line_panels
from coldstart.reporting.page import (
    DataTable,
    Picture,
    Section,
    TableCell,
    paragraph,
    picture,
    together,
)
from coldstart.reporting.style import COLOURS, Size
from coldstart.summary.material import Material

NAMES = {"val_loss": "validation loss", "val_ndcg": "NDCG@20 of the validation tracks"}
"""Figure of a validation → its name for people."""


def curves(material: Material) -> Section | None:
    """The section; None where nothing was kept of the fit."""
    fit = material.fit
    if fit is None:
        return None
    validations = fit.get("validations") or []
    epochs = "1 epoch" if fit["epochs"] == 1 else f"{fit['epochs']:,} epochs"
    intro = (
        f"{epochs} in {fit['seconds']:,.1f} s on {fit['device']}"
        + (f", {fit['parameters']:,} parameters" if "parameters" in fit else "")
        + ". "
    )
    figures = [
        name
        for name in dict.fromkeys(key for each in validations for key in each)
        if name not in ("epoch", "step")
        and any(isinstance(each.get(name), float | int) for each in validations)
    ]
    if not figures:
        return None
    if len(validations) < 2:
        values = ", ".join(
            f"{NAMES.get(name, name)} {validations[0][name]:.4f}"
            for name in figures
            if validations[0].get(name) is not None
        )
        words = f"{intro}It was validated once, so there is no curve: {values}."
        return Section("fit", "The fit", paragraph(words))
    panels = _panels(material, validations, figures)
    best = material.results.about.get("best_epoch") if material.results is not None else None
    kept = None
    if isinstance(best, int) and 1 <= best <= fit["epochs"]:
        kept = float(best)
        intro += f"Kept were the weights after epoch {best}."
    cells: list[list[TableCell]] = [
        [int(each["epoch"]), *(each.get(name) for name in figures)] for each in validations
    ]
    drawn = Picture(
        "fit",
        f"Losses over {fit['epochs']} epochs of the fit"
        + (f"; the weights after epoch {best} were kept." if kept else "."),
        lambda figure, narrow: line_panels(figure, narrow, panels, "epoch", kept),
        Size(2.9, 2.6 * len(panels)),
        "Losses have no unit, and compare with those of the same target alone.",
        DataTable(["epoch", *(NAMES.get(name, name) for name in figures)], cells),
    )
    return Section("fit", "The fit", together([paragraph(intro), picture(drawn)]), [drawn])


def _panels(
    material: Material, validations: list[dict[str, float]], figures: list[str]
) -> list[Panel]:
    """Losses in the first panel, and a panel for each other figure (the first two)."""

    def line(name: str) -> Curve:
        points = [(each["epoch"], each[name]) for each in validations if each.get(name) is not None]
        return Curve(NAMES.get(name, name), *zip(*points, strict=True))

    losses = [line(name) for name in figures if name.endswith("loss")]
    train = material.losses
    if losses and len(train) > 1:
        per_epoch = max(1.0, validations[-1]["step"] / validations[-1]["epoch"])
        losses.append(
            Curve(
                "training loss",
                [(step + 1) / per_epoch for step, _ in train],
                [loss for _, loss in train],
            )
        )
    panels = [Panel("loss (no unit)", losses)] if losses else []
    others = [name for name in figures if not name.endswith("loss")]
    return panels + [Panel(f"{NAMES.get(n, n)}"[:34], [line(n)]) for n in others[:2]]


def first_stage_curves(material: Material) -> Section | None:
    """How the nets of a first stage were fitted, a panel an encoder; None where nothing was kept.

    Of more nets than there are colours, the first ones are drawn; the table has all.
    """
    panels: list[Panel] = []
    rows: list[list[TableCell]] = []
    for name, fits in material.first_stage.items():
        lines = []
        for number, fit in enumerate(fits, 1):
            losses = [
                (each["epoch"], each["val_loss"])
                for each in (fit or {}).get("validations") or ()
                if isinstance(each.get("val_loss"), float | int)
            ]
            if fit is None or not losses:
                continue
            epoch, loss = min(losses, key=lambda pair: pair[1])
            rows.append([name, number, fit["epochs"], int(epoch), loss, round(fit["seconds"], 1)])
            lines.append(Curve(f"net {number}", *zip(*losses, strict=True)))
        if lines:
            panels.append(Panel(f"{name}: validation loss", lines[: len(COLOURS)]))
    if not panels:
        return None
    drawn = Picture(
        "first-stage",
        "The validation loss of each net of the first stage, by epoch.",
        lambda figure, narrow: line_panels(figure, narrow, panels, "epoch"),
        Size(2.9, 2.6 * len(panels)),
        "Each net was fitted without its fold of the training tracks. Losses have no unit.",
        DataTable(["encoder", "net", "epochs", "best epoch", "validation loss", "seconds"], rows),
    )
    nets = sum(map(len, material.first_stage.values()))
    gone = nets - len(rows)
    words = f"{nets} nets, whose vectors the head reads" + (
        f"; of {gone} of them nothing was kept." if gone else "."
    )
    return Section(
        "first stage",
        "The nets of the first stage",
        together([paragraph(words), picture(drawn)]),
        [drawn],
    )
