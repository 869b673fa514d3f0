// AWS's SDK for Go: another language's signatures, retries, checksums, waiters, pagers, marshalling and typed errors.
//
// Built against Debian's golang-github-aws-aws-sdk-go-dev (.ci/clients.py); asks the endpoint in ENDPOINT, with the
// keys and the region of the usual AWS variables. Leaves with 1 and the first thing that was not as it must be.
package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/request"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/dynamodb"
	"github.com/aws/aws-sdk-go/service/dynamodb/dynamodbattribute"
	"github.com/aws/aws-sdk-go/service/dynamodb/expression"
)

const (
	rows     = 60
	pageSize = 7
	segments = 3
	// Rounds in which a batch may leave something over, as a throttled table does.
	batchRounds = 20
)

type item struct {
	Pk     string            `dynamodbav:"pk"`
	Sk     int               `dynamodbav:"sk"`
	Count  int               `dynamodbav:"count"`
	Bytes  []byte            `dynamodbav:"bytes"`
	Labels []string          `dynamodbav:"labels,stringset"`
	Nested map[string]string `dynamodbav:"nested"`
}

type client struct {
	*dynamodb.DynamoDB
	table *string
}

func must(err error, doing string) {
	if err != nil {
		fail("%s: %v", doing, err)
	}
}

func fail(format string, values ...interface{}) {
	panic(fmt.Sprintf(format, values...))
}

func equal(found, wanted interface{}, what string) {
	if !reflect.DeepEqual(found, wanted) {
		fail("%s: %v instead of %v", what, found, wanted)
	}
}

func newItem(pk string, sk int) item {
	return item{pk, sk, 1, []byte{0, 255}, []string{"a", "b"}, map[string]string{"deep": "down"}}
}

func marshal(value interface{}) map[string]*dynamodb.AttributeValue {
	image, err := dynamodbattribute.MarshalMap(value)
	must(err, "marshal")
	return image
}

func key(pk string, sk int) map[string]*dynamodb.AttributeValue {
	return marshal(struct {
		Pk string `dynamodbav:"pk"`
		Sk int    `dynamodbav:"sk"`
	}{pk, sk})
}

func (c client) create() {
	_, err := c.CreateTable(&dynamodb.CreateTableInput{
		TableName:   c.table,
		BillingMode: aws.String(dynamodb.BillingModePayPerRequest),
		KeySchema: []*dynamodb.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: aws.String(dynamodb.KeyTypeHash)},
			{AttributeName: aws.String("sk"), KeyType: aws.String(dynamodb.KeyTypeRange)},
		},
		AttributeDefinitions: []*dynamodb.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: aws.String(dynamodb.ScalarAttributeTypeS)},
			{AttributeName: aws.String("sk"), AttributeType: aws.String(dynamodb.ScalarAttributeTypeN)},
		},
	})
	must(err, "create table")
	patience := request.WithWaiterDelay(request.ConstantWaiterDelay(200 * time.Millisecond))
	attempts := request.WithWaiterMaxAttempts(300)
	described := &dynamodb.DescribeTableInput{TableName: c.table}
	must(c.WaitUntilTableExistsWithContext(aws.BackgroundContext(), described, patience, attempts), "wait")
}

func (c client) putAndCondition() {
	wanted := newItem("one", 1)
	_, err := c.PutItem(&dynamodb.PutItemInput{TableName: c.table, Item: marshal(wanted)})
	must(err, "put")
	got, err := c.GetItem(&dynamodb.GetItemInput{
		TableName: c.table, Key: key("one", 1), ConsistentRead: aws.Bool(true),
	})
	must(err, "get")
	var found item
	must(dynamodbattribute.UnmarshalMap(got.Item, &found), "unmarshal")
	equal(found, wanted, "what was put")

	absent, err := expression.NewBuilder().WithCondition(expression.Name("pk").AttributeNotExists()).Build()
	must(err, "condition")
	_, err = c.PutItem(&dynamodb.PutItemInput{
		TableName:                c.table,
		Item:                     marshal(wanted),
		ConditionExpression:      absent.Condition(),
		ExpressionAttributeNames: absent.Names(),
	})
	var refused *dynamodb.ConditionalCheckFailedException
	if !errors.As(err, &refused) {
		fail("a failed condition was not told: %v", err)
	}
	equal(refused.Message(), "The conditional request failed", "the refusal")

	_, err = c.GetItem(&dynamodb.GetItemInput{TableName: aws.String("no-such-table"), Key: key("one", 1)})
	var missing *dynamodb.ResourceNotFoundException
	if !errors.As(err, &missing) {
		fail("a missing table was not told: %v", err)
	}
}

func (c client) update() {
	change, err := expression.NewBuilder().
		WithCondition(expression.Name("count").Equal(expression.Value(1))).
		WithUpdate(expression.
			Set(expression.Name("count"), expression.Name("count").Plus(expression.Value(41))).
			Set(expression.Name("nested.deep"), expression.Value("deeper")).
			Delete(expression.Name("labels"), expression.Value(
				(&dynamodb.AttributeValue{}).SetSS([]*string{aws.String("b")}),
			))).
		Build()
	must(err, "update expression")
	updated, err := c.UpdateItem(&dynamodb.UpdateItemInput{
		TableName:                 c.table,
		Key:                       key("one", 1),
		ConditionExpression:       change.Condition(),
		UpdateExpression:          change.Update(),
		ExpressionAttributeNames:  change.Names(),
		ExpressionAttributeValues: change.Values(),
		ReturnValues:              aws.String(dynamodb.ReturnValueAllNew),
	})
	must(err, "update")
	wanted := newItem("one", 1)
	wanted.Count, wanted.Labels, wanted.Nested["deep"] = 42, []string{"a"}, "deeper"
	var found item
	must(dynamodbattribute.UnmarshalMap(updated.Attributes, &found), "unmarshal")
	equal(found, wanted, "what was updated")
}

func (c client) batches() {
	var writes []*dynamodb.WriteRequest
	for number := 0; number < rows; number++ {
		put := &dynamodb.PutRequest{Item: marshal(newItem("many", number))}
		writes = append(writes, &dynamodb.WriteRequest{PutRequest: put})
	}
	for round := 0; len(writes) > 0; round++ {
		if round == batchRounds {
			fail("%d writes of a batch were left over", len(writes))
		}
		size := len(writes)
		if size > 25 {
			size = 25
		}
		wrote, err := c.BatchWriteItem(&dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]*dynamodb.WriteRequest{*c.table: writes[:size]},
		})
		must(err, "batch write")
		writes = append(writes[size:], wrote.UnprocessedItems[*c.table]...)
	}
	wanted := map[string]*dynamodb.KeysAndAttributes{*c.table: {
		Keys:           []map[string]*dynamodb.AttributeValue{key("many", 1), key("many", 2), key("many", 999)},
		ConsistentRead: aws.Bool(true),
	}}
	found := 0
	must(c.BatchGetItemPages(&dynamodb.BatchGetItemInput{RequestItems: wanted},
		func(page *dynamodb.BatchGetItemOutput, last bool) bool {
			found += len(page.Responses[*c.table])
			return true
		}), "batch get")
	equal(found, 2, "items of a batch")
}

func (c client) queryInPages() {
	chosen := expression.Key("pk").Equal(expression.Value("many")).
		And(expression.Key("sk").Between(expression.Value(10), expression.Value(39)))
	down := expression.Name("nested.deep").Equal(expression.Value("down"))
	built, err := expression.NewBuilder().
		WithKeyCondition(chosen).WithFilter(down).WithProjection(expression.NamesList(expression.Name("sk"))).Build()
	must(err, "query expression")
	var numbers, wanted []int
	pages := 0
	must(c.QueryPages(&dynamodb.QueryInput{
		TableName:                 c.table,
		KeyConditionExpression:    built.KeyCondition(),
		FilterExpression:          built.Filter(),
		ProjectionExpression:      built.Projection(),
		ExpressionAttributeNames:  built.Names(),
		ExpressionAttributeValues: built.Values(),
		ConsistentRead:            aws.Bool(true),
		ScanIndexForward:          aws.Bool(false),
		Limit:                     aws.Int64(pageSize),
	}, func(page *dynamodb.QueryOutput, last bool) bool {
		var found []item
		must(dynamodbattribute.UnmarshalListOfMaps(page.Items, &found), "unmarshal")
		for _, one := range found {
			numbers = append(numbers, one.Sk)
		}
		pages++
		return true
	}), "query")
	for number := 39; number >= 10; number-- {
		wanted = append(wanted, number)
	}
	equal(numbers, wanted, "what a query finds, in its order")
	if pages < len(wanted)/pageSize {
		fail("%d pages for %d items", pages, len(wanted))
	}
}

func (c client) transactions() {
	token := aws.String(fmt.Sprintf("go-%d", os.Getpid()))
	write := &dynamodb.TransactWriteItemsInput{
		ClientRequestToken: token,
		TransactItems: []*dynamodb.TransactWriteItem{
			{Put: &dynamodb.Put{TableName: c.table, Item: marshal(newItem("transacted", 1))}},
			{Delete: &dynamodb.Delete{TableName: c.table, Key: key("many", 5)}},
			{Update: &dynamodb.Update{
				TableName:                 c.table,
				Key:                       key("many", 6),
				UpdateExpression:          aws.String("ADD #c :one"),
				ExpressionAttributeNames:  map[string]*string{"#c": aws.String("count")},
				ExpressionAttributeValues: marshal(map[string]int{":one": 1}),
			}},
		},
	}
	for again := 0; again < 2; again++ { // the second is the same transaction, told by its token
		_, err := c.TransactWriteItems(write)
		must(err, "transaction")
	}
	read, err := c.TransactGetItems(&dynamodb.TransactGetItemsInput{TransactItems: []*dynamodb.TransactGetItem{
		{Get: &dynamodb.Get{TableName: c.table, Key: key("transacted", 1)}},
		{Get: &dynamodb.Get{TableName: c.table, Key: key("many", 5)}},
		{Get: &dynamodb.Get{TableName: c.table, Key: key("many", 6)}},
	}})
	must(err, "reading transaction")
	equal(len(read.Responses[1].Item), 0, "attributes of a deleted item")
	var first, third item
	must(dynamodbattribute.UnmarshalMap(read.Responses[0].Item, &first), "unmarshal")
	must(dynamodbattribute.UnmarshalMap(read.Responses[2].Item, &third), "unmarshal")
	equal(first, newItem("transacted", 1), "what a transaction put")
	equal(third.Count, 2, "what a transaction sent twice added to")

	_, err = c.TransactWriteItems(&dynamodb.TransactWriteItemsInput{TransactItems: []*dynamodb.TransactWriteItem{
		{Put: &dynamodb.Put{TableName: c.table, Item: marshal(newItem("transacted", 2))}},
		{ConditionCheck: &dynamodb.ConditionCheck{
			TableName:                           c.table,
			Key:                                 key("transacted", 1),
			ConditionExpression:                 aws.String("attribute_not_exists(pk)"),
			ReturnValuesOnConditionCheckFailure: aws.String(dynamodb.ReturnValuesOnConditionCheckFailureAllOld),
		}},
	}})
	var cancelled *dynamodb.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		fail("a cancelled transaction was not told: %v", err)
	}
	equal(len(cancelled.CancellationReasons), 2, "reasons")
	equal(aws.StringValue(cancelled.CancellationReasons[0].Code), "None", "the first reason")
	equal(aws.StringValue(cancelled.CancellationReasons[1].Code), "ConditionalCheckFailed", "the second reason")
	equal(cancelled.CancellationReasons[1].Item, marshal(newItem("transacted", 1)), "the item that was in the way")
}

func (c client) scan() int {
	total := 0
	for segment := int64(0); segment < segments; segment++ {
		must(c.ScanPages(&dynamodb.ScanInput{
			TableName:      c.table,
			ConsistentRead: aws.Bool(true),
			Limit:          aws.Int64(pageSize),
			Segment:        aws.Int64(segment),
			TotalSegments:  aws.Int64(segments),
		}, func(page *dynamodb.ScanOutput, last bool) bool {
			total += int(*page.Count)
			return true
		}), "scan")
	}
	return total
}

func (c client) deleteOne() {
	gone, err := c.DeleteItem(&dynamodb.DeleteItemInput{
		TableName: c.table, Key: key("transacted", 1), ReturnValues: aws.String(dynamodb.ReturnValueAllOld),
	})
	must(err, "delete")
	equal(gone.Attributes, marshal(newItem("transacted", 1)), "what was deleted")
}

func (c client) drop() {
	_, err := c.DeleteTable(&dynamodb.DeleteTableInput{TableName: c.table})
	must(err, "delete table")
}

func run(c client) (failure interface{}) {
	defer func() {
		if failure = recover(); failure != nil { // which counts, whatever becomes of the table
			_, _ = c.DeleteTable(&dynamodb.DeleteTableInput{TableName: c.table})
		}
	}()
	c.create()
	c.putAndCondition()
	c.update()
	c.batches()
	c.queryInPages()
	c.transactions()
	equal(c.scan(), rows+1, "items of a scan: one more put, one more transacted, one deleted")
	c.deleteOne()
	equal(c.scan(), rows, "items of a scan after the deletion")
	c.drop()
	return nil
}

func main() {
	config := &aws.Config{
		Endpoint: aws.String(os.Getenv("ENDPOINT")),
		Region:   aws.String(os.Getenv("AWS_DEFAULT_REGION")),
	}
	table := aws.String(fmt.Sprintf("go-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if failure := run(client{dynamodb.New(session.Must(session.NewSession(config))), table}); failure != nil {
		fmt.Fprintln(os.Stderr, failure)
		os.Exit(1)
	}
	fmt.Println(aws.SDKName, aws.SDKVersion, "(Go)")
}
