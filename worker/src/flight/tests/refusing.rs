//! Who is not let in.

use arrow_flight::{FlightData, FlightDescriptor, flight_service_client::FlightServiceClient};
use tonic::{Code, Request, metadata::MetadataValue};

use super::*;

async fn try_pass(house: &House, pass: &Pass) -> Vec<WorkerError> {
    let mut errors = Vec::new();
    for (_, hop) in house.hops() {
        errors.push(hop.put(pass, Part::Rows, numbers(0..1).schema(), once(numbers(0..1))).await.unwrap_err());
        errors.push(hop.finish(pass, draft(&house.ticket(), Vec::new())).await.unwrap_err());
    }
    errors
}

#[tokio::test]
async fn forged_expired_and_foreign_tickets_open_nothing() {
    let house = House::new("parquet").await;
    let strange = TicketKeys::new(vec![TicketKey::random()]);
    let good = house.pass();
    let mut bent = good.ticket.to_vec();
    let last = bent.len() - 5;
    bent[last] ^= 1;
    let expired = Ticket { expires_unix_ms: Timestamp::now().as_millisecond() - 1, ..house.ticket() };
    let forged: Bytes = strange.sign(&house.ticket()).unwrap().into();
    for ticket in [forged, bent.into(), house.sign(&expired).ticket, Bytes::new()] {
        for error in try_pass(&house, &Pass { ticket, ..good.clone() }).await {
            assert_eq!(error.code(), error::TICKET_REFUSED, "{error}");
        }
    }
    assert_eq!(house.staged_files(), 0);
    house.assert_healthy().await;
}

#[tokio::test]
async fn a_ticket_opens_no_other_pipeline_and_no_other_sink() {
    let house = House::new("parquet").await;
    let elsewhere = serde_json::to_vec(&pipeline(&house.folder.path().join("_windrow"), "json")).unwrap();
    let other_pipeline = Pass { pipeline: elsewhere.into(), ..house.pass() };
    let other_sink = house.sign(&Ticket { sink: "sea".parse().unwrap(), ..house.ticket() });
    let other_name = house.sign(&Ticket { pipeline: "trains".parse().unwrap(), ..house.ticket() });
    for pass in [other_pipeline, other_sink, other_name] {
        for error in try_pass(&house, &pass).await {
            assert_eq!(error.code(), error::TICKET_REFUSED, "{error}");
        }
    }
    house.assert_healthy().await;
}

#[tokio::test]
async fn a_manifest_of_another_claim_or_with_its_files_is_refused() {
    let house = House::new("parquet").await;
    let mine = house.ticket();
    let others = [
        Ticket { task: TaskId::from_bytes([8; 16]), ..mine.clone() },
        Ticket { token: Token { epoch: 1, revision: 43 }, ..mine.clone() },
    ];
    for (_, hop) in house.hops() {
        let batch = numbers(0..1);
        let files = hop.put(&house.sign(&mine), Part::Rows, batch.schema(), once(batch)).await.unwrap().files;
        for other in &others {
            let foreign = draft(other, files.clone());
            for (ticket, manifest) in [(&mine, foreign.clone()), (other, foreign), (other, draft(&mine, files.clone()))]
            {
                let error = hop.finish(&house.sign(ticket), manifest).await.unwrap_err();
                assert_eq!(error.code(), error::TICKET_REFUSED);
            }
        }
        let twice = [files.clone(), files.clone()].concat();
        let away = vec![StagedFile { path: format!("../{}", files[0].path), ..files[0].clone() }];
        let as_letter = Manifest { dead_letters: files.clone(), ..draft(&mine, Vec::new()) };
        for manifest in [draft(&mine, twice), draft(&mine, away), as_letter] {
            let error = hop.finish(&house.sign(&mine), manifest).await.unwrap_err();
            assert_eq!(error.code(), error::TICKET_REFUSED);
        }
        std::fs::remove_file(house.folder.path().join(&files[0].path)).unwrap();
        let error = hop.finish(&house.sign(&mine), draft(&mine, files)).await.unwrap_err();
        assert_eq!(error.code(), error::STAGED_FILE_BAD);
    }
}

#[tokio::test]
async fn nothing_but_puts_under_a_ticket_is_served() {
    let house = House::new("parquet").await;
    let mut client = FlightServiceClient::new(endpoint(house.address).connect().await.unwrap());
    let get = client.do_get(arrow_flight::Ticket { ticket: house.pass().ticket }).await.unwrap_err();
    assert_eq!(get.code(), Code::Unimplemented);
    let info = client.get_flight_info(FlightDescriptor::new_path(vec!["etc/passwd".to_owned()])).await.unwrap_err();
    assert_eq!(info.code(), Code::Unimplemented);
    let bare = client.do_put(stream::iter(vec![FlightData::default()])).await.unwrap_err();
    assert_eq!(bare.code(), Code::PermissionDenied);
    for descriptor in [FlightDescriptor::new_path(vec!["a".to_owned()]), FlightDescriptor::new_cmd("rm")] {
        let pipeline = house.pipeline.clone();
        let message =
            FlightData { flight_descriptor: Some(descriptor), app_metadata: pipeline, ..FlightData::default() };
        let mut request = Request::new(stream::iter(vec![message]));
        request.metadata_mut().insert_bin(wire::TICKET, MetadataValue::from_bytes(&house.pass().ticket));
        request.metadata_mut().insert(wire::PART, MetadataValue::from_static("rows"));
        let refused = client.do_put(request).await.unwrap_err();
        assert!(wire::from_status(&refused).code() == error::FLIGHT_BROKEN, "{refused:?}");
    }
    house.assert_healthy().await;
}
