//! What packs cost, as it is told: in JSON, and in a table for people.

use runpack_catalog::cost::{Bill, Cost, CostQuery, Money, Prices};
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::Tone;
use crate::table::{Align, columns, count, grouped, safe, size};

/// What is told.
pub(super) struct Told {
    pub(super) query: CostQuery,
    pub(super) prices: Prices,
    pub(super) cost: Cost,
    pub(super) with: Option<Cost>,
    pub(super) cautions: Vec<String>,
    /// How many groups are named.
    pub(super) limit: usize,
}

impl Told {
    /// What the other rules save, and what they cost more: one of the two is nothing.
    fn difference(&self) -> Option<(Money, Money)> {
        let (now, then) = (self.cost.total.total, self.with.as_ref()?.total.total);
        Some((now.less(then), then.less(now)))
    }

    pub(super) fn to_json(&self) -> Value {
        let cost = |cost: &Cost| {
            let groups: Vec<_> = cost.groups.iter().take(self.limit).collect();
            json!({
                "groups": groups,
                "groups_in_all": cost.groups.len(),
                "total": cost.total,
                "others": cost.others,
            })
        };
        let with = self.with.as_ref().map(|with| {
            let (saves, adds) = self.difference().unwrap_or_default();
            json!({ "cost": cost(with), "saves": saves, "adds": adds })
        });
        json!({
            "prices": {
                "name": self.prices.name,
                "date": self.prices.date,
                "source": self.prices.source,
                "currency": self.prices.currency,
            },
            "by": self.query.by,
            "at": self.query.at,
            "days": self.query.window.days,
            "verifications": self.query.window.verifications,
            "cost": cost(&self.cost),
            "with_lifecycle": with,
            "missing": self.cost.missing,
            "cautions": self.cautions,
        })
    }

    pub(super) fn text(&self, context: &Context) -> String {
        let window = self.query.window;
        let days = count(u64::from(window.days), "day");
        let times = count(u64::from(window.verifications), "verification");
        let mut text = format!(
            "{days} from {} with {times}, in {} by the prices of {}, {}\n\n",
            self.query.at,
            safe(&self.prices.currency),
            safe(&self.prices.name),
            safe(&self.prices.date)
        );
        let header = [
            "TOTAL",
            "STORAGE",
            "MOVING",
            "VERIFYING",
            "PACKS",
            "OBJECTS",
            "SIZE",
            "OF",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let costliest = self.cost.groups.iter().take(self.limit);
        rows.extend(costliest.map(|one| row(&one.bill, &safe(&one.group))));
        rows.push(row(&self.cost.total, "(all of it)"));
        if let Some(others) = &self.cost.others {
            rows.push(row(others, "(in the bucket, of none of these packs)"));
        }
        let mut align = [Align::Right; 8];
        if let Some(last) = align.last_mut() {
            *last = Align::Left;
        }
        text.push_str(&columns(&align, &rows));
        let unnamed = self.cost.groups.len().saturating_sub(self.limit);
        if unnamed > 0 {
            add!(text, "and {unnamed} more: --limit\n");
        }
        add!(
            text,
            "\n{}\n",
            context.output.tone(Tone::Strong, "where it lies")
        );
        text.push_str(&classes(&self.cost.total));
        let storing = &self.cost.total.storing;
        add!(
            text,
            "\nstoring it took about {} requests, {} once\n",
            grouped(storing.requests),
            shown(storing.cost)
        );
        if let (Some(with), Some((saves, adds))) = (&self.with, self.difference()) {
            let said = if adds > Money::ZERO {
                format!("cost {} more", shown(adds))
            } else {
                format!("save {}", shown(saves))
            };
            add!(
                text,
                "\nthe other rules {said}: {} in all, of which moving {}\n",
                shown(with.total.total),
                shown(with.total.moving.cost)
            );
        }
        if self.cost.missing > 0 {
            add!(
                text,
                "\n{} in the catalog and not in the bucket: run `runpack catalog check`\n",
                count(self.cost.missing, "object")
            );
        }
        for caution in &self.cautions {
            add!(text, "\n{}\n", safe(caution));
        }
        text
    }
}

fn classes(bill: &Bill) -> String {
    let rows: Vec<Vec<String>> = bill
        .classes
        .iter()
        .map(|one| {
            vec![
                format!("  {}", one.class),
                count(one.objects, "object"),
                size(one.bytes),
                shown(one.storage),
            ]
        })
        .collect();
    columns(
        &[Align::Left, Align::Right, Align::Right, Align::Right],
        &rows,
    )
}

fn row(bill: &Bill, of: &str) -> Vec<String> {
    vec![
        shown(bill.total),
        shown(bill.storage),
        shown(bill.moving.cost),
        shown(bill.verifying.cost),
        grouped(bill.packs),
        grouped(bill.objects),
        size(bill.bytes),
        of.to_owned(),
    ]
}

/// An amount for people: four digits after the point, rounded up.
fn shown(amount: Money) -> String {
    const UNIT: u128 = 100_000;
    let units = amount.nanos().div_ceil(UNIT);
    let whole = units.checked_div(10_000).unwrap_or(0);
    let rest = units.checked_rem(10_000).unwrap_or(0);
    let whole = u64::try_from(whole).unwrap_or(u64::MAX);
    format!("{}.{rest:04}", grouped(whole))
}
