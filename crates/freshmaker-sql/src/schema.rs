//! The tables as the migrations make them.
//!
//! To add a column, add a field of the record (`freshmaker::rebuild::record`; for a build also in
//! `is_planned_as`, if the column says what was planned), a line here and in [`rows`](super::rows),
//! one in [`progress`](super::progress) if the column changes, and a migration for each database
//! (`sqlite/migrations`, `postgres/migrations`). A table of more than 32 columns needs another
//! feature of Diesel, and smaller statements in `queries::write`.

diesel::table! {
    inbox (id) {
        id -> BigInt,
        source -> Text,
        message_id -> Text,
        sender_id -> Text,
        topic -> Text,
        headers -> Text,
        body -> Binary,
        state -> SmallInt,
        tries -> BigInt,
        waits -> BigInt,
        run -> BigInt,
        received_at -> BigInt,
        not_before -> Nullable<BigInt>,
        reason_code -> Nullable<Text>,
        reason_text -> Nullable<Text>,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        version -> BigInt,
        state -> SmallInt,
        source -> Text,
        message_id -> Text,
        handler -> Text,
        generation -> BigInt,
        kind -> Text,
        search_key -> Text,
        manual -> Bool,
        requester -> Nullable<Text>,
        severity -> SmallInt,
        payload -> Text,
        mode -> SmallInt,
        reason_code -> Text,
        reason_text -> Text,
        plan -> Nullable<Text>,
        builds_open -> BigInt,
        builds_done -> BigInt,
        builds_failed -> BigInt,
        cancel_at -> Nullable<BigInt>,
        created_at -> BigInt,
        done_at -> Nullable<BigInt>,
        retry_of -> Nullable<BigInt>,
    }
}

diesel::table! {
    builds (id) {
        id -> BigInt,
        version -> BigInt,
        state -> SmallInt,
        system -> Text,
        build_key -> Text,
        artifact -> Text,
        target -> Text,
        mode -> SmallInt,
        slot -> SmallInt,
        kind -> SmallInt,
        source -> Nullable<Text>,
        parameters -> Text,
        parents -> Text,
        demands -> Text,
        because -> SmallInt,
        asked -> Bool,
        inputs -> Nullable<Text>,
        pending -> BigInt,
        priority -> BigInt,
        estimate -> Nullable<BigInt>,
        tries -> BigInt,
        resubmits -> BigInt,
        attempts -> BigInt,
        no_cache -> Bool,
        release -> Nullable<Text>,
        not_before -> Nullable<BigInt>,
        reason_code -> Text,
        reason_text -> Text,
        output -> Nullable<Text>,
        cancel_at -> Nullable<BigInt>,
        created_at -> BigInt,
        done_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    attempts (id) {
        id -> Text,
        version -> BigInt,
        state -> SmallInt,
        build -> BigInt,
        system -> Text,
        number -> BigInt,
        run -> BigInt,
        release -> Text,
        session -> Nullable<Text>,
        intent_at -> BigInt,
        external -> Nullable<Text>,
        observed_at -> Nullable<BigInt>,
        reason_code -> Text,
        reason_text -> Text,
        deadline -> Nullable<BigInt>,
        not_before -> Nullable<BigInt>,
        live -> Bool,
        unobserved_since -> BigInt,
    }
}

diesel::table! {
    build_deps (parent, child) {
        parent -> BigInt,
        child -> BigInt,
        kind -> SmallInt,
        satisfied -> Bool,
    }
}

diesel::table! {
    build_causes (build, event) {
        build -> BigInt,
        event -> BigInt,
        because -> Text,
        live -> Bool,
    }
}

diesel::table! {
    plans (event) {
        event -> BigInt,
        body -> Text,
    }
}

diesel::table! {
    transitions (aggregate, id, version) {
        aggregate -> Text,
        id -> Text,
        version -> BigInt,
        from_state -> Nullable<Text>,
        to_state -> Text,
        reason_code -> Text,
        reason_text -> Text,
        actor -> Text,
        run -> BigInt,
        at -> BigInt,
    }
}

diesel::table! {
    notifications (position) {
        position -> BigInt,
        partition -> SmallInt,
        aggregate -> Text,
        id -> Text,
        version -> BigInt,
        topic -> Text,
        body -> Text,
    }
}

diesel::table! {
    positions (partition, bus) {
        partition -> SmallInt,
        bus -> Text,
        position -> BigInt,
    }
}

diesel::table! {
    partitions (partition) {
        partition -> SmallInt,
        trimmed -> BigInt,
        publisher -> Nullable<BigInt>,
    }
}

diesel::table! {
    runs (run) {
        run -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    sequences (name) {
        name -> Text,
        last -> BigInt,
    }
}

diesel::table! {
    tallies (subject, state) {
        subject -> Text,
        state -> SmallInt,
        amount -> BigInt,
    }
}

diesel::table! {
    documents (number) {
        number -> BigInt,
        kind -> Text,
        id -> Text,
        version -> BigInt,
        body -> Text,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
    }
}

diesel::joinable!(attempts -> builds (build));
diesel::joinable!(build_causes -> builds (build));
diesel::allow_tables_to_appear_in_same_query!(attempts, builds, build_causes, build_deps, events, runs);
diesel::allow_columns_to_appear_in_same_group_by_clause!(
    build_causes::event,
    builds::kind,
    builds::state,
    build_causes::live
);
diesel::allow_tables_to_appear_in_same_query!(inbox, runs);
diesel::allow_tables_to_appear_in_same_query!(inbox, events);
