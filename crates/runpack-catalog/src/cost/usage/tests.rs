//! Objects that age, and bills that add up.

use proptest::prelude::*;
use runpack_core::lifecycle::Lifecycle;

use super::*;

const MONTH: Window = Window {
    days: 30,
    verifications: 1,
};

fn object(bytes: u64, age_days: u32, seen: Option<StorageClass>) -> Object<'static> {
    Object {
        key: "tenant/x",
        bytes,
        age_days,
        seen,
    }
}

fn rules() -> Vec<Rule> {
    let to = |to, after_days| Transition { after_days, to };
    let wishes = Lifecycle {
        transitions: vec![
            to(StorageClass::StandardIa, 30),
            to(StorageClass::DeepArchive, 90),
        ],
        ..Lifecycle::default()
    };
    wishes.rules("").unwrap()
}

fn bill(objects: &[Object<'_>], rules: &[Rule], window: Window) -> Bill {
    let prices = Prices::amazon().unwrap();
    let mut usage = Usage::default();
    for object in objects {
        usage.add(*object, rules, window, &prices).unwrap();
    }
    usage.bill(window, &prices).unwrap()
}

#[test]
fn a_month_of_a_gibibyte_costs_its_price() {
    let one = bill(&[object(1 << 30, 0, None)], &[], MONTH);
    assert_eq!(one.storage.to_string(), "0.023000000");
    // 128 parts, their beginning and their end, and a look before the commit.
    assert_eq!(one.storing.requests, 131);
    assert_eq!(one.storing.cost.to_string(), "0.000650400");
    assert_eq!(one.verifying.requests, 128);
    assert_eq!(one.verifying.cost.to_string(), "0.000051200");
    assert_eq!(one.total, one.storage.plus(one.verifying.cost));
    let year = Window {
        days: 360,
        verifications: 0,
    };
    let year = bill(&[object(1 << 30, 0, None)], &[], year);
    assert_eq!(year.total.to_string(), "0.276000000");
}

#[test]
fn small_ones_and_archived_ones_are_billed_as_more() {
    let ia = bill(&[object(1, 0, Some(StorageClass::StandardIa))], &[], MONTH);
    let same = bill(
        &[object(128 << 10, 0, Some(StorageClass::StandardIa))],
        &[],
        MONTH,
    );
    assert_eq!(ia.storage, same.storage);
    let deep = bill(&[object(0, 0, Some(StorageClass::DeepArchive))], &[], MONTH);
    let prices = Prices::amazon().unwrap();
    let of = |class, bytes: u128| {
        let price = prices.of(class).unwrap().storage_gib_month;
        price.times(bytes * 30, GIB * MONTH_DAYS)
    };
    let wanted = of(StorageClass::DeepArchive, 32_768).plus(of(StorageClass::Standard, 8_192));
    assert_eq!(deep.storage, wanted);
    // One read and one that asks it back.
    assert_eq!(deep.verifying.requests, 2);
}

#[test]
fn objects_go_from_class_to_class_as_they_age() {
    use StorageClass::{DeepArchive, Glacier, Standard, StandardIa};
    let large = 65 << 20;
    let at = |after_days, to| Transition { after_days, to };
    for (bytes, age, seen, first, moves) in [
        (100, 400, None, Standard, vec![]),
        (1 << 20, 0, None, Standard, vec![]),
        (1 << 20, 400, None, StandardIa, vec![]),
        (large, 0, None, Standard, vec![]),
        (large, 10, None, Standard, vec![at(20, StandardIa)]),
        (large, 30, None, StandardIa, vec![]),
        (large, 70, None, StandardIa, vec![at(20, DeepArchive)]),
        (large, 400, None, DeepArchive, vec![]),
        // Seen where the rules have not moved it yet, and where somebody else has.
        (
            large,
            400,
            Some(Standard),
            Standard,
            vec![at(1, DeepArchive)],
        ),
        (large, 10, Some(Glacier), Glacier, vec![]),
        (
            large,
            70,
            Some(Standard),
            Standard,
            vec![at(1, StandardIa), at(20, DeepArchive)],
        ),
    ] {
        let found = way(object(bytes, age, seen), &rules(), 30);
        assert_eq!(found, (first, moves), "{bytes} {age} {seen:?}");
    }
    let year = way(object(large, 0, None), &rules(), 365).1;
    assert_eq!(year, [at(30, StandardIa), at(90, DeepArchive)]);
    let moved = bill(
        &[object(large, 0, None)],
        &rules(),
        Window {
            days: 365,
            verifications: 0,
        },
    );
    assert_eq!(moved.moving.requests, 2);
    assert_eq!(moved.moving.cost.to_string(), "0.000060000");
}

fn some_objects() -> impl Strategy<Value = Vec<(u64, u32, usize)>> {
    let bytes = prop_oneof![any::<u64>(), 0..(1u64 << 30), Just(u64::MAX)];
    prop::collection::vec((bytes, any::<u32>(), 0..7usize), 0..40)
}

proptest! {
    #[test]
    fn the_parts_of_a_bill_are_its_total(
        objects in some_objects(),
        cut in 0..40usize,
        days in 0..36_500u32,
        verifications in any::<u32>(),
    ) {
        let window = Window { days, verifications };
        let objects: Vec<_> = objects
            .iter()
            .map(|(bytes, age, class)| object(*bytes, *age, StorageClass::ALL.get(*class).copied()))
            .collect();
        let whole = bill(&objects, &rules(), window);
        let (left, right) = objects.split_at(cut.min(objects.len()));
        let mut sum = bill(left, &rules(), window);
        sum.add(&bill(right, &rules(), window));
        // Counts are the same however they are cut; amounts are rounded up once in each part of each line.
        prop_assert_eq!(sum.objects, whole.objects);
        prop_assert_eq!(sum.verifying.requests, whole.verifying.requests);
        prop_assert_eq!(sum.moving.requests, whole.moving.requests);
        let lines = 6 * 5 + 4;
        prop_assert!(sum.total >= whole.total);
        prop_assert!(sum.total.less(whole.total).nanos() <= lines);
        let classes: Money = sum.classes.iter().map(|one| one.storage).sum();
        prop_assert_eq!(classes, sum.storage);
        prop_assert_eq!(sum.storage.plus(sum.moving.cost).plus(sum.verifying.cost), sum.total);
    }
}
